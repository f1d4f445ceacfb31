package admission.workspace_dir_safe_test

import data.admission.lib
import data.admission.testing

test_folders_of_the_system_are_refused_in_every_spelling[directory] if {
	some directory in [
		"/", "//", "/.", "/./", "/etc", "/etc/", "//etc", "/./etc", "/etc/.", "/etc//", "/etc/passwd", "///etc///ssh",
		"/proc", "/proc/self/root/srv", "/sys", "/dev/shm", "/boot", "/root", "/root/agents", "/run", "/run/docker.sock",
		"/var/run", "/var/./run", "/var/lib/docker", "/bin", "/sbin", "/usr", "/usr/local", "/lib", "/lib32", "/lib64", "/libx32",
	]
	result := lib.workspace_dir_safe with input as testing.requesting({"workspace_dir": directory})
	testing.reasons(result) == {"workspace_dir_system"}
	testing.marking(result) == set()
}

test_a_segment_of_two_dots_is_refused[directory] if {
	some directory in ["/srv/..", "/srv/../srv/a", "/srv/a/../b", "/srv/..//a"]
	result := lib.workspace_dir_safe with input as testing.requesting({"workspace_dir": directory})
	testing.reasons(result) == {"workspace_dir_parent"}
}

test_a_relative_path_is_refused[directory] if {
	some directory in ["srv/a", "./srv", "~", "~/a", "C:/agents", "file:///srv/a", " /srv/a"]
	result := lib.workspace_dir_safe with input as testing.requesting({"workspace_dir": directory})
	testing.reasons(result) == {"workspace_dir_relative"}
}

test_a_relative_path_is_judged_in_full if {
	up := lib.workspace_dir_safe with input as testing.requesting({"workspace_dir": "../etc"})
	testing.reasons(up) == {"workspace_dir_relative", "workspace_dir_parent"}
	system := lib.workspace_dir_safe with input as testing.requesting({"workspace_dir": "etc/ssh"})
	testing.reasons(system) == {"workspace_dir_relative", "workspace_dir_system"}
	current := lib.workspace_dir_safe with input as testing.requesting({"workspace_dir": "."})
	testing.reasons(current) == {"workspace_dir_relative", "workspace_dir_system"}
}

test_control_characters_and_backslashes_are_refused[note] if {
	some note, directory in {
		"NUL": "/srv/a\u0000", "line feed": "/srv/\na", "carriage return": "/srv/a\r", "tab": "/srv/\ta",
		"escape": "/srv/\u001ba", "delete": "/srv/\u007fa", "C1": "/srv/\u0085a", "backslash": `/srv\..\..\etc`,
	}
	result := lib.workspace_dir_safe with input as testing.requesting({"workspace_dir": directory})
	testing.reasons(result) == {"workspace_dir_malformed"}
}

test_a_directory_of_another_type_is_refused[note] if {
	some note, directory in testing.not_text
	result := lib.workspace_dir_safe with input as testing.requesting({"workspace_dir": directory})
	testing.reasons(result) == {"workspace_dir_malformed"}
}

test_a_stored_directory_is_judged_unless_the_request_replaces_it if {
	kept := lib.workspace_dir_safe with input as testing.stored({"workspace_dir": "/etc"})
	testing.reasons(kept) == {"workspace_dir_system"}
	replaced := lib.workspace_dir_safe with input as testing.review({
		"request": {"workspace_dir": "/srv/a"},
		"facts": {"workspace": {"workspace_dir": "/etc"}},
	})
	replaced == set()
}

test_other_folders_are_accepted[directory] if {
	some directory in [
		"/srv", "/srv/agents/reader/", "/home/agent", "/etcetera", "/opt/usr", "/data/etc", "/workspace",
		"/srv/..a", "/srv/a..", "/srv/...", "/srv/with space", "/srv/日本", "/var/agents", "/libraries",
	]
	result := lib.workspace_dir_safe with input as testing.requesting({"workspace_dir": directory})
	result == set()
}

test_no_directory_is_accepted[note] if {
	some note, members in {"absent": {}, "null": {"workspace_dir": null}, "empty": {"workspace_dir": ""}}
	result := lib.workspace_dir_safe with input as testing.requesting(members)
	result == set()
}

test_without_the_list_of_folders_no_directory_is_accepted if {
	result := lib.workspace_dir_safe with input as testing.requesting({"workspace_dir": "/srv/a"})
		with data.workspace_dir as {}
	testing.reasons(result) == {"workspace_dir_system"}
}
