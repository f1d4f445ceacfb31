package opa_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa"
	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
)

type refusal struct {
	source snapshot.Source
	says   []string
}

func annotated(metadata string) snapshot.Source {
	return opatest.Module("# METADATA\n" + metadata + "deny contains violation if " + opatest.SomeEntry + "\n")
}

func zoo() map[string]refusal {
	const at = "register/some_rule.rego:"
	good := opatest.Deny(opatest.SomeEntry)
	withData := func(data string) snapshot.Source {
		return opatest.Files(map[string]string{"register/some_rule.rego": opatest.HookPackage + good, "data.yaml": data})
	}
	all := map[string]refusal{
		"a syntax error":          {opatest.Hook("input.request.kind = = 1"), []string{at + "8", "rego_parse_error"}},
		"a brace too few":         {opatest.Module("deny contains violation if {"), []string{at, "rego_parse_error"}},
		"Rego of the old version": {opatest.Module("deny[violation] { " + opatest.SomeEntry + " }"), []string{at + "3", "rego_parse_error"}},
		"not text":                {opatest.Module("\xff\xfe"), []string{at}},
		"an empty module":         {opatest.Files(map[string]string{"register/some_rule.rego": ""}), []string{"register/some_rule.rego", "empty"}},
		"a misspelt input":        {opatest.Hook("input.reqest.kind\n" + opatest.SomeEntry), []string{at + "8", "undefined ref: input.reqest.kind", "reqest"}},
		"a misspelt fact":         {opatest.Hook("input.facts.secrets.MODEL\n" + opatest.SomeEntry), []string{at + "8", "undefined ref: input.facts.secrets.MODEL"}},
		"a type that cannot be":   {opatest.Hook("input.url.port == \"80\"\n" + opatest.SomeEntry), []string{at + "8", "match error"}},
		"an undefined function":   {opatest.Hook("lookup(input.request.id)\n" + opatest.SomeEntry), []string{at + "8", "undefined function lookup"}},
		"a builtin's argument":    {opatest.Hook("count(1) > 0\n" + opatest.SomeEntry), []string{at + "8", "count: invalid argument"}},
		"an unsafe variable":      {opatest.Hook("not x\n" + opatest.SomeEntry), []string{at + "8", "var x is unsafe"}},
		"recursion":               {opatest.Module(good + "a if b\nb if a\n"), []string{at + "10", "recursive"}},
		"an unused variable":      {opatest.Hook("spare := 1\n" + opatest.SomeEntry), []string{at + "8", "assigned var spare unused"}},
		"an unused import":        {opatest.Files(map[string]string{"register/some_rule.rego": opatest.HookPackage + "import data.admission.lib\n\n" + good}), []string{at + "3", "unused"}},
		"an unused argument":      {opatest.Module(good + "f(x) := 1\n"), []string{at + "10", "unused"}},
		"a shadowed input":        {opatest.Hook("input := 1\ninput == 1\n" + opatest.SomeEntry), []string{at + "8", "input"}},
		"an import of nothing":    {opatest.Module("import data.admission.lib.nothing\n" + opatest.Deny("nothing\n"+opatest.SomeEntry)), []string{at + "9", "undefined rule data.admission.lib.nothing"}},
		"a misspelt rule of another package": {opatest.Files(map[string]string{
			"register/some_rule.rego": opatest.HookPackage + "import data.admission.lib\n\ndeny contains violation if some violation in lib.some_rul\n",
			"lib/some_rule.rego":      "package admission.lib\n\n" + opatest.Annotation("SOME_CODE") + "some_rule contains violation if " + opatest.SomeEntry,
		}), []string{at + "5", "undefined rule data.admission.lib.some_rul"}},
		"no hook":                     {opatest.Files(map[string]string{"lib/a.rego": "package admission.lib\n\na := 1\n"}), []string{"no hook"}},
		"only warnings":               {opatest.Module(opatest.Annotation("SOME_CODE") + "warn contains violation if " + opatest.SomeEntry), []string{"no hook"}},
		"a hook below a hook":         {opatest.Files(map[string]string{"a.rego": "package admission.register.more\n\n" + good}), []string{"no hook"}},
		"data alone":                  {opatest.Files(map[string]string{"data.yaml": "a: 1"}), []string{"no hook"}},
		"deny is a complete rule":     {opatest.Module("deny := true"), []string{at + "3", "deny of hook register must be a partial set"}},
		"deny is a complete set":      {opatest.Module(`deny := {{"reason": "r", "message": "m"}}`), []string{at + "3", "deny of hook register must be a partial set"}},
		"deny is a boolean":           {opatest.Module("deny if input.request.bad"), []string{at + "3", "deny of hook register must be a partial set"}},
		"deny is a function":          {opatest.Module("deny(x) := x"), []string{at + "3", "deny of hook register must be a partial set"}},
		"deny is an object":           {opatest.Module(`deny[x] := 1 if some x in ["a"]`), []string{at + "3", "deny of hook register must be a partial set"}},
		"warn is a boolean":           {opatest.Module(good + "warn if input.request.bad"), []string{at + "10", "warn of hook register must be a partial set"}},
		"deny has parts":              {opatest.Module(good + "deny.more contains violation if " + opatest.SomeEntry), []string{at + "7", "conflicts"}},
		"deny is data too":            {withData("admission: {register: {deny: []}}"), []string{"conflicting"}},
		"data where a package is":     {opatest.Files(map[string]string{"register/some_rule.rego": opatest.HookPackage + good, "admission/data.json": `{"register": 1}`}), []string{"conflict"}},
		"entries are text":            {opatest.Module(opatest.Annotation("SOME_CODE") + `deny contains "no"`), []string{at + "7", "an entry is no object", "string"}},
		"entries are sets":            {opatest.Hook(`violation := {"reason", "message"}`), []string{at + "7", "an entry is no object"}},
		"one of two is text":          {opatest.Module(good + opatest.Annotation("OTHER_CODE") + `deny contains "no"`), []string{at, "an entry is no object"}},
		"no reason":                   {opatest.Hook(`violation := {"message": "m"}`), []string{at + "7", "an entry has no reason"}},
		"no message":                  {opatest.Hook(`violation := {"reason": "r"}`), []string{at + "7", "an entry has no message"}},
		"an unknown member":           {opatest.Hook(`violation := {"reason": "r", "message": "m", "mark_faild": true}`), []string{at + "7", "an entry has a member mark_faild"}},
		"severity in an entry":        {opatest.Hook(`violation := {"reason": "r", "message": "m", "severity": "low"}`), []string{at + "7", "an entry has a member severity"}},
		"a forged tag":                {opatest.Hook(`violation := {"reason": "r", "message": "m", "gatehouse.rule": 0}`), []string{at + "7", "an entry has a member gatehouse.rule"}},
		"a reason that is a number":   {opatest.Hook(`violation := {"reason": 1, "message": "m"}`), []string{at + "7", "an entry's reason is number, not string"}},
		"a status that is text":       {opatest.Hook(`violation := {"reason": "r", "message": "m", "status": "403"}`), []string{at + "7", "an entry's status is string, not number"}},
		"a mark that is text":         {opatest.Hook(`violation := {"reason": "r", "message": "m", "mark_failed": "no"}`), []string{at + "7", "an entry's mark_failed is string, not boolean"}},
		"a status of success":         {opatest.Hook(`violation := {"reason": "r", "message": "m", "status": 200}`), []string{"hook register", "some_rule", "400 to 499"}},
		"a status between two":        {opatest.Hook(`violation := {"reason": "r", "message": "m", "status": 403.5}`), []string{"hook register", "some_rule", "400 to 499"}},
		"an empty reason":             {opatest.Hook(`violation := {"reason": "", "message": "m"}`), []string{"hook register", "some_rule", "no reason"}},
		"an entry without a code":     {opatest.Module("deny contains violation if " + opatest.SomeEntry), []string{"hook register", "without a code"}},
		"a warning without a code":    {opatest.Module(good + "warn contains violation if " + opatest.SomeEntry), []string{"hook register", "without a code"}},
		"a rule in no hook":           {opatest.Module(good + opatest.Annotation("OTHER_CODE") + "lonely contains violation if " + opatest.SomeEntry), []string{at, "lonely is in no hook"}},
		"a deny beside the hook":      {opatest.Files(map[string]string{"register/some_rule.rego": opatest.HookPackage + good, "register/more.rego": "package admission.register.more\n\ndeny contains violation if " + opatest.SomeEntry}), []string{"register/more.rego:3", "in no hook"}},
		"a warn below warn":           {opatest.Module(good + "warn.x contains violation if " + opatest.SomeEntry), []string{at, "warn"}},
		"a builtin that always fails": {opatest.Hook("to_number(\"x\") == 1\n" + opatest.SomeEntry), []string{at + "8", "to_number"}},
		"a value that conflicts":      {opatest.Module(opatest.Deny("a == 1\n"+opatest.SomeEntry) + "a := 1\na := 2\n"), []string{at, "conflict"}},
		"no title":                    {annotated("# description: D\n# custom: {code: A, severity: low, status: 400}\n"), []string{at + "6", "some_rule", "needs a title and a description"}},
		"no description":              {annotated("# title: T\n# custom: {code: A, severity: low, status: 400}\n"), []string{at + "6", "needs a title and a description"}},
		"no code":                     {annotated("# title: T\n# description: D\n# custom: {severity: low, status: 400}\n"), []string{"without a code"}},
		"no severity":                 {annotated("# title: T\n# description: D\n# custom: {code: A, status: 400}\n"), []string{at + "7", "custom.severity is required"}},
		"no status":                   {annotated("# title: T\n# description: D\n# custom: {code: A, severity: low}\n"), []string{at + "7", "custom.status is required"}},
		"metadata that is no YAML":    {annotated("# title: [\n"), []string{at}},
		"a code on a function":        {opatest.Module(good + opatest.Annotation("OTHER_CODE") + "f(x) := x\n"), []string{at + "14", "f has a code, so it must be a partial set"}},
		"one code, two severities": {opatest.Module(good + strings.Replace(opatest.Annotation("SOME_CODE"), "high", "low", 1) + "deny contains violation if " + opatest.SomeEntry),
			[]string{at + "14", "code SOME_CODE means something else", at + "7"}},
		"one code, two statuses": {opatest.Module(good + strings.Replace(opatest.Annotation("SOME_CODE"), "400", "403", 1) + "deny contains violation if " + opatest.SomeEntry),
			[]string{at + "14", "code SOME_CODE means something else"}},
		"one code, two answers": {opatest.Module(good + opatest.Annotation("SOME_CODE", "answer: other") + "deny contains violation if " + opatest.SomeEntry),
			[]string{at + "14", "code SOME_CODE means something else"}},
		"enforcement of no code":         {withData("enforcement: {OTHER_CODE: warn}"), []string{"data.enforcement.OTHER_CODE", "no rule has this code"}},
		"an unknown enforcement":         {withData("enforcement: {SOME_CODE: none}"), []string{"data.enforcement.SOME_CODE", "not deny, warn or audit"}},
		"an enforcement that is no text": {withData("enforcement: {SOME_CODE: [warn]}"), []string{"data.enforcement.SOME_CODE", "not deny, warn or audit"}},
		"an enforcement of null":         {withData("enforcement: {SOME_CODE: }"), []string{"data.enforcement.SOME_CODE", "not deny, warn or audit"}},
		"enforcement that is a list":     {withData("enforcement: [SOME_CODE]"), []string{"data.enforcement is no object"}},
		"data that is no YAML":           {withData("a: [1"), []string{"data.yaml:2:13: did not find expected"}},
		"data of two documents":          {withData("a: 1\n---\na: 2\n"), []string{"data.yaml:2:1: a second document begins here"}},
		"a key of the data twice":        {withData("enforcement: {SOME_CODE: deny}\nb: 1\nenforcement: {}\n"), []string{`data.yaml:3:1: "enforcement" is there twice`}},
		"a key deep in the data twice":   {withData("a:\n  - b: {c: 1, c: 2}\n"), []string{`data.yaml:2:15: "c" is there twice`}},
		"a word of YAML 1.1":             {withData("enforcement: {SOME_CODE: off}\n"), []string{"data.yaml:1:26: YAML 1.1 reads this as true or false"}},
		"a key of JSON data twice":       {opatest.AsWritten(map[string]string{"register/some_rule.rego": opatest.HookPackage + good, "data.json": `{"a": 1, "a": 2}`}), []string{`data.json:1:10: "a" is there twice`}},
		"data that is no object":         {withData("- a"), []string{"data.yaml"}},
		"two files for the same data":    {opatest.Files(map[string]string{"register/some_rule.rego": opatest.HookPackage + good, "data.yaml": "a: {b: 1}", "a/data.json": `{"b": 2}`}), []string{"merge"}},
	}
	for _, builtin := range []string{
		`http.send({"method": "get", "url": "http://example.com"})`, `net.lookup_ip_addr("example.com")`, "opa.runtime()",
		`rand.intn("a", 2)`, `uuid.rfc4122("a")`,
	} {
		name, _, _ := strings.Cut(builtin, "(")
		all[name] = refusal{opatest.Hook(builtin + " != 1\n" + opatest.SomeEntry), []string{at + "8", "undefined function " + name}}
	}
	for custom, says := range map[string]string{
		"code: some_code": "custom.code must be UPPER_SNAKE_CASE", "code: 1": "custom.code", "code: ''": "custom.code", "code: A-B": "custom.code",
		"code: 1A": "custom.code", "code: " + strings.Repeat("A", 65): "custom.code",
		"severity: High": "custom.severity must be critical, high, medium or low", "severity: 1": "custom.severity", "severity: ''": "custom.severity",
		"status: 200": "custom.status must be an HTTP status from 400 to 499", "status: 500": "custom.status", "status: 0": "custom.status",
		"status: 400.5": "custom.status", "status: '403 '": "custom.status", "status: ": "custom.status", "status: [400]": "custom.status",
		"mark_failed: 'true'": "custom.mark_failed must be true or false", "mark_failed: 1": "custom.mark_failed", "mark_failed: ": "custom.mark_failed",
		"answer: ''": "custom.answer must be a sentence", "answer: 1": "custom.answer", "answer: ": "custom.answer",
		"mark: true": "custom.mark is not one of code, severity, status, mark_failed, answer", "Severity: low": "custom.Severity is not one of",
	} {
		key, _, _ := strings.Cut(custom, ":")
		members := map[string]string{"code": "code: A", "severity": "severity: low", "status": "status: 400"}
		members[key] = custom
		text := "# title: T\n# description: D\n# custom:\n"
		for _, member := range members {
			text += "#   " + member + "\n"
		}
		all["custom "+custom] = refusal{annotated(text), []string{at, "rule some_rule", says}}
	}
	return all
}

func TestWrongPoliciesAreRefusedAndTheLiveOnesStay(t *testing.T) {
	at := time.Unix(1000, 0)
	engine := opa.NewEngine(opatest.Schema(t), func() time.Time { return at }, opa.Options{})
	require.Nil(t, engine.Current())
	require.Equal(t, opa.Status{}, engine.Status())
	require.NoError(t, engine.Load(t.Context(), opatest.Hook(opatest.SomeEntry)))
	good := engine.Current()
	at = at.Add(time.Minute)

	failures := int64(0)
	for name, test := range zoo() {
		t.Run(name, func(t *testing.T) {
			err := engine.Load(t.Context(), test.source)
			failures++
			status := engine.Status()
			require.True(t, engine.Current() == good && status.Snapshot == good, "what was live stays")
			require.Error(t, err)
			require.Equal(t, &opa.Refusal{Source: "test", At: at, Err: err}, status.Refused)
			require.Equal(t, failures, status.Failures)
			require.Equal(t, time.Unix(1000, 0), status.Since, "and its age goes on")
			for _, text := range test.says {
				require.Contains(t, err.Error(), text)
			}
		})
	}
	require.NoError(t, engine.Load(t.Context(), opatest.Hook(opatest.SomeEntry, "answer: new")))
	require.False(t, engine.Current() == good)
	status := engine.Status()
	require.Nil(t, status.Refused)
	require.Equal(t, at, status.Since)
	require.Equal(t, failures, status.Failures)
	require.Equal(t, "test", status.Snapshot.Source())
}

func TestRefusalNamesEveryFault(t *testing.T) {
	_, err := snapshot.New(t.Context(), opatest.Module(
		strings.Replace(opatest.Annotation("A"), "high", "grave", 1)+"deny contains violation if "+opatest.SomeEntry+"\n"+
			strings.Replace(opatest.Annotation("B"), "400", "200", 1)+"deny contains violation if "+opatest.SomeEntry+"\n"), opatest.Schema(t))
	require.ErrorContains(t, err, "custom.severity")
	require.ErrorContains(t, err, "custom.status")
	require.ErrorContains(t, err, "2 errors occurred")
}

func TestInvalidSchemaIsAnError(t *testing.T) {
	for _, text := range []string{"{", `{"type": "nonsense"}`} {
		_, err := snapshot.New(t.Context(), opatest.Hook(opatest.SomeEntry), []byte(text))
		require.Error(t, err, fmt.Sprintf("%q", text))
	}
}
