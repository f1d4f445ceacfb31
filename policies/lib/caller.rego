package admission.lib

# Whoever bootstraps has only said which workspace it is, and anyone may say
# that. What such a caller claims can be refused, but must not fail the
# workspace: it may be someone else's.
default caller_proved := false

caller_proved if input.caller_proof == "token"

caller_proved if input.caller_proof == "install"
