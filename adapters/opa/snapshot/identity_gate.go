package snapshot

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
)

// IdentityGate is the code of the rule that Gatehouse exists for: a platform agent without its MODEL secret never
// comes online. Policies that hold it less tightly than the shipped ones are refused, unless their data has it in
// allow_weaker.
const IdentityGate = "PLATFORM_AGENT_IDENTITY_GATE"

// gateSecret is the secret without which the platform agent came online as a generic assistant.
const gateSecret = "MODEL"

const allowWeakerKey = "allow_weaker"

// GateWeakened refuses policies that weaken IdentityGate and do not say that this is meant.
type GateWeakened struct {
	How []string
}

func (e *GateWeakened) Error() string {
	return fmt.Sprintf("%s is weaker than shipped: %s (where that is meant, data.yaml says %s: [%[1]s])",
		IdentityGate, strings.Join(e.How, "; "), allowWeakerKey)
}

// checkGate refuses a weakened IdentityGate. It looks at the catalogue and the data, and then lets the policies decide the
// incidents: a rule that has the code and never holds is as weak as no rule.
func (s *Snapshot) checkGate(ctx context.Context) error {
	if s.allowWeaker[IdentityGate] {
		return nil
	}
	how := s.gateSays()
	if len(how) == 0 {
		passed, err := s.replayIncident(ctx)
		if err != nil {
			return err
		}
		how = passed
	}
	if len(how) > 0 {
		return &GateWeakened{How: how}
	}
	return nil
}

// gateSays lists how the catalogue and the data weaken the gate.
func (s *Snapshot) gateSays() []string {
	if !s.codes[IdentityGate] {
		return []string{"no rule has this code"}
	}
	var how []string
	for _, hook := range check.KnownHooks {
		switch {
		case !s.HasHook(hook):
			how = append(how, "hook "+hook+" is gone")
		case !slices.ContainsFunc(s.RulesOf(hook), func(rule admission.Rule) bool { return rule.Code == IdentityGate }):
			how = append(how, "hook "+hook+" has no rule with this code")
		}
	}
	if override, found := s.override[IdentityGate]; found && override != admission.Deny {
		how = append(how, fmt.Sprintf("data.enforcement.%s is %s", IdentityGate, override))
	}
	if required, found := s.loaded.Data["required_secrets"]; found {
		byKind, _ := required.(map[string]any)
		keys, _ := byKind["platform"].([]any)
		if !slices.Contains(keys, any(gateSecret)) {
			how = append(how, "data.required_secrets.platform does not name "+gateSecret)
		}
	}
	return how
}

// incident is a way in which a platform agent could come online incomplete.
type incident struct {
	what  string
	input admission.Input
	marks bool // the deny must also mark the stored workspace failed
}

// replayIncident evaluates every incident and says which of them pass.
func (s *Snapshot) replayIncident(ctx context.Context) (passed []string, err error) {
	limited, cancel := context.WithTimeout(ctx, rehearsalTimeout)
	defer cancel()
	all, err := incidents(s.otherSecrets())
	if err != nil {
		return nil, fmt.Errorf("the incidents of %s: %w", IdentityGate, err)
	}
	for _, one := range all {
		verdict, err := s.Evaluate(limited, one.input, time.Unix(0, 0))
		switch denied, marked := gateDenies(verdict); {
		case err != nil:
			passed = append(passed, fmt.Sprintf("%s cannot be decided: %s", one.what, err))
		case !denied:
			passed = append(passed, one.what+" is not denied")
		case one.marks && !marked:
			passed = append(passed, one.what+" is denied and not marked failed")
		}
		if len(passed) > 0 { // one is enough; the others would say the same
			return passed, ctx.Err()
		}
	}
	return nil, nil
}

func gateDenies(verdict admission.Verdict) (denied, marked bool) {
	for _, violation := range verdict.Violations {
		if violation.Code == IdentityGate && violation.Enforcement == admission.Deny {
			denied, marked = true, marked || violation.MarkFailed
		}
	}
	return denied, marked
}

// otherSecrets are keys that must not count in place of the missing one: the other ones that the data requires, and some that
// look like it.
func (s *Snapshot) otherSecrets() []string {
	others := []string{"model", "MODEL ", "MODEL_PROVIDER"}
	byKind, _ := s.loaded.Data["required_secrets"].(map[string]any)
	keys, _ := byKind["platform"].([]any)
	for _, key := range keys {
		if text, isText := key.(string); isText && text != gateSecret {
			others = append(others, text)
		}
	}
	return others
}

func incidents(others []string) ([]incident, error) {
	const row = `{"kind": "platform", "name": "concierge", "status": %q, "delivery_mode": "push", "url": "https://agent.example.com"}`
	complete := append([]string{gateSecret}, others...)
	var all []incident
	for _, hook := range check.KnownHooks {
		for _, proof := range []admission.CallerProof{admission.Token, admission.Bootstrap, admission.Install} {
			for _, status := range []string{"provisioning", "offline", "failed"} {
				stored, err := admission.NewFacts(true, fmt.Appendf(nil, row, status), others, []string{gateSecret})
				if err != nil {
					return nil, err
				}
				for _, kind := range []string{``, `, "kind": "platform"`, `, "kind": "workspace"`} {
					what := fmt.Sprintf("a stored platform workspace without %s (hook %s, status %s, caller_proof %s)", gateSecret, hook, status, proof)
					all = append(all, incident{what, asking(hook, proof, status, kind, stored), true})
				}
			}
			tools, err := admission.NewFacts(true, fmt.Appendf(nil, row, "provisioning"), complete, nil)
			if err != nil {
				return nil, err
			}
			what := fmt.Sprintf("a platform workspace without its MCP server (hook %s, caller_proof %s)", hook, proof)
			all = append(all, incident{what, asking(hook, proof, "provisioning", `, "mcp_server_present": false`, tools), proof == admission.Token})
		}
	}
	unknown, err := admission.NewFacts(false, nil, nil, nil)
	if err != nil {
		return nil, err
	}
	what := "a new platform workspace without " + gateSecret + " (hook register, caller_proof install)"
	return append(all, incident{what, asking("register", admission.Install, "", `, "kind": "platform"`, unknown), false}), nil
}

// asking is the input of a request that brings a workspace online; members are of its workspace.
func asking(hook string, proof admission.CallerProof, status, members string, facts admission.Facts) admission.Input {
	const url = "https://agent.example.com"
	members = `{"id": "00000000-0000-4000-8000-000000000002", "url": "` + url + `", "agent_card": null` + members
	if hook == "heartbeat" {
		members += fmt.Sprintf(`, "from_status": %q, "to_status": "online"`, status)
	}
	return admission.Input{Hook: hook, CallerProof: proof, Request: []byte(members + "}"), Facts: facts, URL: decode.ParseURL(url)}
}

// readAllowWeaker reads data.allow_weaker: the codes that the author weakens on purpose.
func readAllowWeaker(data map[string]any, codes map[string]bool) (map[string]bool, error) {
	value, found := data[allowWeakerKey]
	if !found || value == nil {
		return nil, nil
	}
	entries, isList := value.([]any)
	if !isList {
		return nil, fmt.Errorf("data.%s is no list of codes", allowWeakerKey)
	}
	allowed := make(map[string]bool, len(entries))
	for _, entry := range entries {
		code, _ := entry.(string)
		if !codes[code] && code != IdentityGate {
			return nil, fmt.Errorf("data.%s: no rule has the code %v", allowWeakerKey, entry)
		}
		allowed[code] = true
	}
	return allowed, nil
}
