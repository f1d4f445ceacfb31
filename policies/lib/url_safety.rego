package admission.lib

# METADATA
# scope: document
# title: An agent's URL is safe to call
# description: >-
#   The platform calls this URL from inside its own network. It must be plain
#   http or https, without credentials, and must not name the platform's own
#   hosts, in any spelling. Names are not looked up.
# custom:
#   code: URL_UNSAFE
#   severity: high
#   status: 400
#   mark_failed: false
url_safety contains violation if {
	# A heartbeat may leave the URL out, since it changes nothing about it.
	input.hook == "register"
	not url_given
	not polls
	violation := {
		"reason": "url_missing",
		"message": "A workspace in push mode registers with a URL, and the request has none.",
	}
}

url_safety contains violation if {
	url_given
	not url_readable
	violation := {
		"reason": "url_invalid",
		"message": "The URL is not text that every reader understands as the same URL.",
	}
}

url_safety contains violation if {
	url_readable
	not url_scheme_allowed
	violation := {
		"reason": "url_scheme",
		"message": "The URL has a scheme that is not allowed.",
	}
}

url_safety contains violation if {
	url_has_userinfo
	violation := {
		"reason": "url_userinfo",
		"message": "The URL carries a user name or a password.",
	}
}

url_safety contains violation if {
	url_readable
	not url_names_host
	violation := {
		"reason": "url_no_host",
		"message": "The URL names no host.",
	}
}

url_safety contains violation if {
	url_names_host
	input.url.ip != ""
	not url_address_allowed
	violation := {
		"reason": "url_address_refused",
		"message": "The URL points to an address that no agent may have.",
	}
}

url_safety contains violation if {
	url_names_host
	input.url.ip == ""
	not url_host_allowed
	violation := {
		"reason": "url_host_refused",
		"message": "The URL points to a host name that no agent may have.",
	}
}

url_given if {
	url := input.request.url
	not url in {null, ""}
}

# Control characters, spaces and backslashes are dropped by some parsers, kept
# by others and taken for slashes by others still, so what one of them judges
# is not what another one calls.
url_readable if {
	is_string(input.request.url)
	not regex.match(`[\x00-\x20\x7f\\]`, input.request.url)
	input.url.valid
}

# A browser reads http:host and http:///host as http://host; other clients
# find no host there, or a different one.
url_names_host if {
	url_readable
	regex.match(`^[^:/?#]+://[^/?#]`, input.request.url)
	url_host != ""
}

# With or without the dot of the DNS root, a name is the same host.
url_host := trim_right(input.url.host, ".")

url_has_userinfo if {
	url_readable
	input.url.userinfo
}

# An empty user name leaves no trace in the parsed URL, but other parsers may
# split the text at the @ elsewhere.
url_has_userinfo if {
	url_readable
	contains(input.request.url, "@")
	regex.match(`^[^:/?#]+://[^/?#]*@`, input.request.url)
}

# What is allowed is a rule of its own throughout: if the data is missing, the
# rule is undefined and nothing is allowed.
url_scheme_allowed if input.url.scheme in data.url.schemes

url_address_allowed if {
	url_address_outside(data.url.refused_ranges)
	url_address_public
}

# The provisioner stores the URL of a container it started on this machine.
# The agent may repeat that very URL; no other one on loopback.
url_address_allowed if {
	input.url.ip == "127.0.0.1"
	input.request.url == input.facts.workspace.url
}

url_address_public if input.deployment.saas

url_address_public if url_address_outside(data.url.private_ranges)

url_address_outside(ranges) if {
	input.url.ip != ""
	count(net.cidr_contains_matches(ranges, input.url.ip)) == 0
}

# Empty labels are in no name of the DNS, and 127.0.0.1.. is a name by the rules
# of URLs that other readers take for the address.
url_host_allowed if {
	not contains(input.url.host, "..")
	is_array(data.url.refused_hosts)
	not url_host in data.url.refused_hosts
	strings.any_suffix_match(concat("", [".", url_host]), data.url.refused_host_suffixes) == false
	url_label_count_allowed
}

# One label can be a container's name, which is how agents on a container
# network are addressed, so refusing it by default would turn them away.
# Whoever gives agents full names can refuse it in the data.
url_label_count_allowed if contains(url_host, ".")

url_label_count_allowed if data.url.single_label_hosts == true
