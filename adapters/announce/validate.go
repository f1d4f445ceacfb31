package announce

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// maxTimeout is well below rescueAfter: a job that is still tried must not be
// taken for one that a dead process left.
const maxTimeout = 20 * time.Second

// The length of a signing secret that Standard Webhooks asks for, in bytes.
const (
	minSecretLength = 24
	maxSecretLength = 64
	secretPrefix    = "whsec_"
)

// knownEvents bounds the filters: a misspelt event would be one that never comes.
var knownEvents = []string{admission.ProvisionFailed}

// Validate checks all that can be checked without reading a file or a variable.
// Its errors name the sink and the member, and repeat no secret.
func (c SinkConfigs) Validate() error {
	for i, sink := range c {
		err := checkSinkNames([]string{sink.Name})
		if err != nil {
			return fmt.Errorf("sinks[%d]: %w", i, err)
		}
		err = sink.validate()
		if err != nil {
			return fmt.Errorf("sink %q: %w", sink.Name, err)
		}
	}
	return checkSinkNames(c.Names())
}

func (c SinkConfig) validate() error {
	if !slices.Contains([]SinkType{TypeWebhook, TypeRedis, TypeNATS}, c.Type) {
		return fmt.Errorf("type: want %s, %s or %s", TypeWebhook, TypeRedis, TypeNATS)
	}
	return errors.Join(c.checkMembers(), c.checkFilter(), c.checkValues())
}

// checkMembers refuses what a sink of this type would ignore.
func (c SinkConfig) checkMembers() error {
	for _, member := range []struct {
		name string
		set  bool
		of   SinkType
	}{
		{"secrets", len(c.Secrets) > 0, TypeWebhook},
		{"allow_private", c.AllowPrivate, TypeWebhook},
		{"proxy", c.Proxy != "", TypeWebhook},
		{"channel", c.Channel != "", TypeRedis},
		{"liveness_keys", c.LivenessKeys != nil, TypeRedis},
		{"subject", c.Subject != "", TypeNATS},
		{"stream", c.Stream != "", TypeNATS},
		{"credentials_file", c.CredentialsFile != "", TypeNATS},
	} {
		if member.set && c.Type != member.of {
			return fmt.Errorf("%s: only for sinks of type %s", member.name, member.of)
		}
	}
	return nil
}

func (c SinkConfig) checkFilter() error {
	for _, event := range c.Events {
		if !slices.ContainsFunc(knownEvents, func(known string) bool { return event == known || event == eventType(known) }) {
			return fmt.Errorf("events: there is no event %q; there is %s", event, strings.Join(knownEvents, ", "))
		}
	}
	if slices.Contains(c.Hooks, "") {
		return errors.New("hooks: an empty name")
	}
	if slices.Contains(c.Codes, "") {
		return errors.New("codes: an empty code")
	}
	return nil
}

func (c SinkConfig) checkValues() error {
	if c.URL == "" {
		return errors.New("url: missing")
	}
	if time.Duration(c.Timeout) > maxTimeout {
		return fmt.Errorf("timeout: at most %s", maxTimeout)
	}
	if c.Type == TypeWebhook && len(c.Secrets) == 0 {
		return errors.New("secrets: a webhook needs at least one to sign with")
	}
	if strings.ContainsAny(c.Subject, " \t\r\n*>") {
		return errors.New("subject: spaces and wildcards cannot be published to")
	}
	if strings.ContainsAny(c.Stream, " \t\r\n*>.") {
		return errors.New("stream: not a stream's name")
	}
	if !c.URL.isReference() {
		err := c.checkURL(string(c.URL))
		if err != nil {
			return fmt.Errorf("url: %w", err)
		}
	}
	if !c.Proxy.isReference() {
		_, err := parseProxy(string(c.Proxy))
		if err != nil {
			return fmt.Errorf("proxy: %w", err)
		}
	}
	for i, secret := range c.Secrets {
		if secret.isReference() {
			continue
		}
		err := checkSigningSecret(string(secret))
		if err != nil {
			return fmt.Errorf("secrets[%d]: %w", i, err)
		}
	}
	return nil
}

func (c SinkConfig) checkURL(text string) error {
	var err error
	switch c.Type {
	case TypeWebhook:
		_, err = parseWebhookURL(text, c.AllowPrivate)
	case TypeRedis:
		_, err = parseRedisURL(text)
	case TypeNATS:
		_, err = parseNATSURL(text)
	}
	return err
}

// parseWebhookURL never repeats what it was given: webhooks often carry their
// password in the path or the query.
func parseWebhookURL(text string, allowPrivate bool) (*url.URL, error) {
	target, err := url.Parse(text)
	if err != nil || target.Opaque != "" || target.Hostname() == "" {
		return nil, errors.New("not https://host/path")
	}
	if target.Fragment != "" {
		return nil, errors.New("a fragment (#) is not sent; escape it as %23")
	}
	if target.Scheme != "https" && (target.Scheme != "http" || !allowPrivate) {
		return nil, errors.New("want https (http only with allow_private)")
	}
	address, err := netip.ParseAddr(target.Hostname())
	if err == nil && !allowPrivate {
		err = checkPublic(address)
		if err != nil {
			return nil, err
		}
	}
	return target, nil
}

func checkSigningSecret(text string) error {
	encoded, prefixed := strings.CutPrefix(text, secretPrefix)
	if !prefixed {
		return errors.New("want " + secretPrefix + " and base64")
	}
	secret, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return errors.New("what follows " + secretPrefix + " is not base64")
	}
	if len(secret) < minSecretLength || len(secret) > maxSecretLength {
		return fmt.Errorf("want %d to %d bytes in base64", minSecretLength, maxSecretLength)
	}
	return nil
}

// wants says whether the sink is to get event. Both the registry's name of an
// event and its CloudEvents type are understood.
func (c SinkConfig) wants(event admission.Event) bool {
	named := len(c.Events) == 0 || slices.Contains(c.Events, event.Event) || slices.Contains(c.Events, eventType(event.Event))
	return named && anyOf(c.Hooks, event.Hook) && anyOf(c.Codes, event.Payload.Code)
}

func anyOf(wanted []string, value string) bool {
	return len(wanted) == 0 || slices.Contains(wanted, value)
}
