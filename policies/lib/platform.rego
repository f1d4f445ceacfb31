package admission.lib

# A workspace is held to the platform's rules if it is stored as one or asks to
# become one. A re-register that leaves its kind out must not escape them.
platform if input.request.kind == "platform"

platform if stored_platform

stored_platform if input.facts.workspace.kind == "platform"
