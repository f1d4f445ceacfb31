package author

import (
	"encoding/xml"
	"fmt"
	"io"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/opa/casetest"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// TestAnswer is what test prints as JSON.
type TestAnswer struct {
	Tests    []testOutcome  `json:"tests"`
	Failed   int            `json:"failed"`
	Skipped  int            `json:"skipped"`
	Coverage coverageAnswer `json:"coverage"`
}

type testOutcome struct {
	Kind         string                      `json:"kind"`  // rego or case
	Suite        string                      `json:"suite"` // package or file
	Name         string                      `json:"name"`
	Outcome      string                      `json:"outcome"`
	Milliseconds float64                     `json:"milliseconds"`
	Problems     []string                    `json:"problems,omitempty"`
	DidNotFire   []admission.RuleExplanation `json:"did_not_fire,omitempty"`
}

type coverageAnswer struct {
	Percent float64                  `json:"percent"`
	Files   []admission.FileCoverage `json:"files"`
}

func testAnswerOf(report casetest.Report) TestAnswer {
	answer := TestAnswer{
		Tests: []testOutcome{}, Failed: failures(report), Skipped: len(report.Skipped()),
		Coverage: coverageAnswer{Percent: report.Coverage, Files: report.Files},
	}
	for _, result := range report.Results {
		one := testOutcome{
			Kind: "rego", Suite: result.Package, Name: result.Name, Outcome: outcome(result), Milliseconds: milliseconds(result.Duration),
		}
		if !result.Pass() && !result.Skip {
			one.Problems = []string{detail(result)}
		}
		answer.Tests = append(answer.Tests, one)
	}
	for _, result := range report.Cases {
		one := testOutcome{
			Kind: "case", Suite: result.Case.File, Name: result.Case.Name, Outcome: "pass", Milliseconds: milliseconds(result.Took),
			Problems: result.Problems, DidNotFire: result.Missing,
		}
		if len(result.Problems) > 0 {
			one.Outcome = "FAIL"
		}
		answer.Tests = append(answer.Tests, one)
	}
	return answer
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// The elements of JUnit's reports that every reader of them knows.
type JunitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
	took     time.Duration
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitProblem `xml:"failure"`
	Error   *junitProblem `xml:"error"`
	Skipped *struct{}     `xml:"skipped"`
}

type junitProblem struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",cdata"`
}

func writeJUnit(w io.Writer, report casetest.Report) error {
	all := &JunitSuites{Failures: failures(report)}
	for _, result := range report.Results {
		one := junitCase{Name: result.Name, Class: result.Package, Time: seconds(result.Duration)}
		switch {
		case result.Error != nil:
			one.Error = &junitProblem{Message: "error", Text: detail(result)}
		case result.Fail:
			one.Failure = &junitProblem{Message: "failed", Text: detail(result)}
		case result.Skip:
			one.Skipped = &struct{}{}
		}
		all.add(one, result.Duration)
	}
	for _, result := range report.Cases {
		one := junitCase{Name: result.Case.Name, Class: result.Case.File, Time: seconds(result.Took)}
		if len(result.Problems) > 0 {
			one.Failure = &junitProblem{Message: result.Problems[0], Text: detailOfCase(result)}
		}
		all.add(one, result.Took)
	}
	_, err := io.WriteString(w, xml.Header)
	if err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	err = encoder.Encode(all)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w)
	return err
}

// add puts a case into the suite of its class; results come suite by suite.
func (s *JunitSuites) add(one junitCase, took time.Duration) {
	last := len(s.Suites) - 1
	if last < 0 || s.Suites[last].Name != one.Class {
		s.Suites = append(s.Suites, junitSuite{Name: one.Class})
		last++
	}
	suite := &s.Suites[last]
	s.Tests++
	suite.Tests++
	suite.took += took
	suite.Time = seconds(suite.took)
	switch {
	case one.Failure != nil:
		suite.Failures++
	case one.Error != nil:
		suite.Errors++
	case one.Skipped != nil:
		suite.Skipped++
		s.Skipped++
	}
	suite.Cases = append(suite.Cases, one)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.6f", d.Seconds()) }
