package admission.lib

# Rules ask this by "not has_secret(key)", which holds without a list of keys
# too; "not key in …" would be undefined then, and deny nothing.
has_secret(key) if key in input.facts.secret_keys

# A required list that is not a list of names would require nothing when it is
# iterated, so rules ask this first and deny if it does not hold.
names_secrets(keys) if {
	is_array(keys)
	every key in keys {
		is_string(key)
		key != ""
	}
}
