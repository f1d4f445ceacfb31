package admission.url_safety_test

import data.admission.lib
import data.admission.testing

# The spellings of addresses are tested where URLs are parsed, by
# cases/url_safety.yaml; here the parsed form is given.
absent := {"valid": false, "scheme": "", "host": "", "ip": "", "port": 0, "userinfo": false}

without_url(changes) := object.union(
	json.remove(testing.review({"url": absent}), ["request/url"]),
	changes,
)

at_address(ip) := testing.review({
	"request": {"url": sprintf("http://%s:8080", [ip])},
	"url": {"scheme": "http", "host": ip, "ip": ip, "port": 8080},
})

at_host(host) := testing.review({
	"request": {"url": sprintf("http://%s:8080", [host])},
	"url": {"scheme": "http", "host": host, "port": 8080},
})

saas := {"deployment": {"saas": true}}

test_push_mode_needs_a_url[note] if {
	some note, changes in {
		"stored push": {},
		"requested push": {"request": {"delivery_mode": "push"}, "facts": {"workspace": {"delivery_mode": "poll"}}},
		"stored null": {"facts": {"workspace": {"delivery_mode": null}}},
		"unknown mode": {"request": {"delivery_mode": "POLL"}},
		"mode of another type": {"request": {"delivery_mode": ["poll"]}},
		"url null": {"request": {"url": null}},
		"url empty": {"request": {"url": ""}},
	}
	result := lib.url_safety with input as without_url(changes)
	testing.reasons(result) == {"url_missing"}
	testing.marking(result) == set()
}

test_push_is_the_mode_of_a_new_workspace if {
	review := json.remove(testing.without_row({"url": absent}), ["request/url"])
	result := lib.url_safety with input as review
	testing.reasons(result) == {"url_missing"}
}

test_poll_mode_needs_no_url[note] if {
	some note, changes in {
		"requested": {"request": {"delivery_mode": "poll"}},
		"stored": {"facts": {"workspace": {"delivery_mode": "poll"}}},
		"stored, empty in the request": {
			"request": {"delivery_mode": "", "url": ""},
			"facts": {"workspace": {"delivery_mode": "poll"}},
		},
		"url null": {"request": {"delivery_mode": "poll", "url": null}},
	}
	result := lib.url_safety with input as without_url(changes)
	result == set()
}

test_a_heartbeat_needs_no_url if {
	result := lib.url_safety with input as without_url({"hook": "heartbeat"})
	result == set()
}

test_a_url_that_is_given_is_judged_in_any_mode_and_hook[note] if {
	some note, changes in {"poll": {"request": {"delivery_mode": "poll"}}, "heartbeat": {"hook": "heartbeat"}}
	result := lib.url_safety with input as object.union(at_address("127.0.0.1"), changes)
	testing.reasons(result) == {"url_address_refused"}
}

test_a_url_of_another_type_is_refused[note] if {
	some note, url in testing.not_text
	result := lib.url_safety with input as testing.review({"request": {"url": url}, "url": absent})
	testing.reasons(result) == {"url_invalid"}
	testing.marking(result) == set()
}

test_a_url_of_another_type_is_refused_though_it_were_parsed if {
	result := lib.url_safety with input as testing.requesting({"url": ["https://agent.example.com"]})
	testing.reasons(result) == {"url_invalid"}
}

test_text_that_does_not_parse_is_refused if {
	result := lib.url_safety with input as testing.review({"request": {"url": "agent"}, "url": absent})
	testing.reasons(result) == {"url_invalid"}
}

test_text_that_parsers_read_differently_is_refused_though_it_parses[note] if {
	some note, url in {
		"space": " https://agent.example.com", "tab": "https://agent\t.example.com", "line feed": "https://agent.example.com\n",
		"carriage return": "https://\ragent.example.com", "NUL": "https://agent.example.com/\u0000",
		"delete": "https://agent.example.com/\u007f", "backslash": `https:\\agent.example.com`,
	}
	result := lib.url_safety with input as testing.requesting({"url": url})
	testing.reasons(result) == {"url_invalid"}
}

test_http_and_https_are_accepted[scheme] if {
	some scheme in ["http", "https"]
	result := lib.url_safety with input as testing.review({
		"request": {"url": sprintf("%s://agent.example.com/a?b#c", [scheme])},
		"url": {"scheme": scheme},
	})
	result == set()
}

test_other_schemes_are_refused[scheme] if {
	some scheme in ["ftp", "ws", "wss", "gopher", "unix"]
	result := lib.url_safety with input as testing.review({
		"request": {"url": sprintf("%s://agent.example.com", [scheme])},
		"url": {"scheme": scheme},
	})
	testing.reasons(result) == {"url_scheme"}
}

test_a_file_has_the_wrong_scheme_and_no_host if {
	result := lib.url_safety with input as testing.review({
		"request": {"url": "file:///etc/passwd"},
		"url": {"scheme": "file", "host": "", "port": 0},
	})
	testing.reasons(result) == {"url_scheme", "url_no_host"}
}

test_userinfo_is_refused if {
	result := lib.url_safety with input as testing.review({
		"request": {"url": "https://u:p@agent.example.com"},
		"url": {"userinfo": true},
	})
	testing.reasons(result) == {"url_userinfo"}
}

test_an_empty_userinfo_is_refused_though_the_parser_drops_it if {
	result := lib.url_safety with input as testing.requesting({"url": "https://@agent.example.com"})
	testing.reasons(result) == {"url_userinfo"}
}

test_a_userinfo_is_seen_where_the_text_has_no_slashes if {
	result := lib.url_safety with input as testing.review({
		"request": {"url": "https:u:p@agent.example.com"},
		"url": {"userinfo": true},
	})
	testing.reasons(result) == {"url_no_host", "url_userinfo"}
}

test_nothing_more_is_said_of_a_url_that_cannot_be_read if {
	result := lib.url_safety with input as testing.review({
		"request": {"url": "ftp://u:p@127.0	.0.1"},
		"url": {"scheme": "ftp", "host": "127.0.0.1", "ip": "127.0.0.1", "userinfo": true},
	})
	testing.reasons(result) == {"url_invalid"}
}

test_nothing_is_said_of_a_host_that_only_the_parser_finds[note] if {
	some note, url in {
		"an address": {"host": "127.0.0.1", "ip": "127.0.0.1"},
		"a name": {"host": "localhost"},
	}
	result := lib.url_safety with input as testing.review({
		"request": {"url": sprintf("https:%s", [url.host])},
		"url": url,
	})
	testing.reasons(result) == {"url_no_host"}
}

test_an_at_sign_after_the_host_is_no_userinfo[url] if {
	some url in ["https://agent.example.com/@a", "https://agent.example.com?a@b", "https://agent.example.com#a@b"]
	result := lib.url_safety with input as testing.requesting({"url": url})
	result == set()
}

test_text_without_a_host_is_refused_though_the_parser_finds_one[url] if {
	some url in ["https:agent.example.com", "https:/agent.example.com", "https:///agent.example.com", "//agent.example.com"]
	result := lib.url_safety with input as testing.requesting({"url": url})
	testing.reasons(result) == {"url_no_host"}
}

test_a_host_of_dots_is_no_host if {
	result := lib.url_safety with input as at_host("..")
	testing.reasons(result) == {"url_no_host"}
}

test_addresses_of_the_machine_and_its_surroundings_are_refused_everywhere[ip] if {
	some ip in [
		"0.0.0.0", "0.255.255.255", "127.0.0.1", "127.255.255.255", "169.254.169.254", "169.254.0.0",
		"100.64.0.0", "100.100.100.200", "100.127.255.255", "168.63.129.16", "192.0.0.192", "192.0.2.1", "192.88.99.1",
		"198.18.0.0", "198.19.255.255", "198.51.100.7", "203.0.113.255", "224.0.0.1", "239.255.255.255", "240.0.0.0",
		"255.255.255.255", "::", "::1", "::7f00:1", "::ffff:0:7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "100::1",
		"2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "4000::1", "5f00::1", "8000::1", "c000::1", "e000::1", "f000::1",
		"f800::1", "fe00::1", "fe80::1", "fec0::1", "ff02::1", "fd00:ec2::254", "fd20:ce::254",
	]
	refused := lib.url_safety with input as at_address(ip)
	testing.reasons(refused) == {"url_address_refused"}
	refused_in_saas := lib.url_safety with input as object.union(at_address(ip), saas)
	testing.reasons(refused_in_saas) == {"url_address_refused"}
}

test_private_addresses_are_accepted_in_saas_only[ip] if {
	some ip in [
		"10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.1", "192.168.255.255", "fc00::1",
		"fd00::1", "fdff:ffff::1",
	]
	refused := lib.url_safety with input as at_address(ip)
	testing.reasons(refused) == {"url_address_refused"}
	accepted := lib.url_safety with input as object.union(at_address(ip), saas)
	accepted == set()
}

test_public_addresses_next_to_the_ranges_are_accepted[ip] if {
	some ip in [
		"1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
		"168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0",
		"192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "203.0.112.255",
		"203.0.114.0", "223.255.255.255", "2000::1", "2001:200::1", "2001:db7::1", "2001:db9::1", "2003::1",
		"2606:4700:4700::1111", "3ffe::1",
	]
	result := lib.url_safety with input as at_address(ip)
	result == set()
}

test_the_stored_provisioner_url_on_127_0_0_1_is_kept if {
	review := object.union(at_address("127.0.0.1"), {"facts": {"workspace": {"url": "http://127.0.0.1:8080"}}})
	result := lib.url_safety with input as review
	result == set()
}

test_another_url_on_loopback_is_not_kept[stored] if {
	some stored in [
		"http://127.0.0.1:8081", "http://127.0.0.1:8080/", "https://127.0.0.1:8080", "http://127.0.0.1:80800",
		"http://127.0.0.1", "", null,
	]
	review := object.union(at_address("127.0.0.1"), {"facts": {"workspace": {"url": stored}}})
	result := lib.url_safety with input as review
	testing.reasons(result) == {"url_address_refused"}
}

test_no_other_refused_url_is_kept_for_being_stored[note] if {
	some note, review in {
		"another loopback address": at_address("127.0.0.2"),
		"a metadata address": at_address("169.254.169.254"),
		"IPv6 loopback": at_address("::1"),
	}
	result := lib.url_safety with input as object.union(review, {"facts": {"workspace": {"url": review.request.url}}})
	testing.reasons(result) == {"url_address_refused"}
}

test_localhost_is_not_kept_for_being_stored if {
	review := object.union(at_host("localhost"), {"facts": {"workspace": {"url": "http://localhost:8080"}}})
	result := lib.url_safety with input as review
	testing.reasons(result) == {"url_host_refused"}
}

test_a_kept_url_has_no_userinfo_and_no_other_scheme if {
	url := "ftp://u@127.0.0.1"
	result := lib.url_safety with input as testing.review({
		"request": {"url": url},
		"url": {"scheme": "ftp", "host": "127.0.0.1", "ip": "127.0.0.1", "userinfo": true},
		"facts": {"workspace": {"url": url}},
	})
	testing.reasons(result) == {"url_scheme", "url_userinfo"}
}

test_hosts_of_the_platform_s_own_network_are_refused[host] if {
	some host in [
		"localhost", "localhost.", "localhost..", "127.0.0.1..", "agent..example.com", "app.localhost", "app.localhost.", "localhost.localdomain",
		"metadata", "ip6-localhost", "ip6-loopback", "metadata.google.internal", "metadata.google.internal.", "instance-data", "internal",
		"host.docker.internal", "printer.local", "redis.default.svc.cluster.local", "redis.default.svc", "kubernetes",
		"kubernetes.default", "nas.home", "wiki.intranet", "app.lvh.me", "10.0.0.1.xip.io",
		"router.lan", "router.home.arpa", "1.0.0.127.in-addr.arpa", "127.0.0.1.nip.io", "app.10-0-0-1.sslip.io", "localtest.me",
	]
	result := lib.url_safety with input as at_host(host)
	testing.reasons(result) == {"url_host_refused"}
	saas_result := lib.url_safety with input as object.union(at_host(host), saas)
	testing.reasons(saas_result) == {"url_host_refused"}
}

test_hosts_that_only_resemble_them_are_accepted[host] if {
	some host in [
		"localhost.example.com", "mylocalhost", "notlocal.example", "metadata.example.com", "internal.example.com",
		"agent.example.com.", "xn--bcher-kva.example", "minip.io",
	]
	result := lib.url_safety with input as at_host(host)
	result == set()
}

test_a_host_of_one_label_is_accepted_unless_the_data_refuse_it[host] if {
	full_name := lib.url_safety with input as testing.base
		with data.url.single_label_hosts as false
	full_name == set()
	some host in ["agent-7", "agent-7."]
	accepted := lib.url_safety with input as at_host(host)
	accepted == set()
	refused := lib.url_safety with input as at_host(host)
		with data.url.single_label_hosts as false
	testing.reasons(refused) == {"url_host_refused"}
}

test_without_data_no_url_is_accepted if {
	host := lib.url_safety with input as testing.base
		with data.url as {}
	testing.reasons(host) == {"url_scheme", "url_host_refused"}
	address := lib.url_safety with input as at_address("8.8.8.8")
		with data.url as {"schemes": ["http"]}
	testing.reasons(address) == {"url_address_refused"}
}

test_each_list_of_hosts_is_needed[list] if {
	some list in ["refused_hosts", "refused_host_suffixes"]
	lists := object.remove(data.url, [list])
	result := lib.url_safety with input as testing.base
		with data.url as lists
	testing.reasons(result) == {"url_host_refused"}
}

test_a_list_of_hosts_that_is_no_list_refuses_every_name[note] if {
	some note, hosts in {"text": "metadata", "null": null}
	result := lib.url_safety with input as testing.base
		with data.url.refused_hosts as hosts
	testing.reasons(result) == {"url_host_refused"}
}
