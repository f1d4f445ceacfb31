package check

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/loader"

	"github.com/molecule-ai/gatehouse/internal/yamlfile"
)

// Problem is one thing that is wrong with policies, and where it is. File and Row are empty where the problem is in no file
// or in no line.
type Problem struct {
	File    string `json:"file,omitempty"`
	Row     int    `json:"row,omitempty"`    // from 1
	Column  int    `json:"column,omitempty"` // from 1
	Code    string `json:"code,omitempty"`   // of OPA: rego_parse_error, rego_type_error, rego_compile_error, …
	Message string `json:"message"`
	Line    string `json:"line,omitempty"` // the line of the source, if it can be read
}

// Diagnose takes an error of loading policies apart into its problems, in order of file, row and column, and
// reads the lines that they are about from fsys, which may be nil.
func Diagnose(err error, fsys fs.FS) []Problem {
	var problems []Problem
	for _, one := range leaves(err) {
		problem := Problem{Message: one.Error()}
		var located *ast.Error
		if errors.As(one, &located) {
			problem.Code, problem.Message = located.Code, withDetails(located)
			if location := located.Location; location != nil {
				problem.File, problem.Row, problem.Column = location.File, location.Row, location.Col
				problem.Line = lineOf(fsys, location.File, location.Row)
			}
		}
		var inData *yamlfile.Error
		if errors.As(one, &inData) {
			problem.File, problem.Row, problem.Column = inData.Name, inData.Line, inData.Column
			problem.Message, problem.Line = inData.Problem.Error(), lineOf(fsys, inData.Name, inData.Line)
		}
		var refused *Refused
		if errors.As(one, &refused) {
			problem.File, problem.Message = refused.File, refused.Why
		}
		problems = append(problems, problem)
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Row, b.Row), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(problems)
}

// leaves are the single errors in an error that joins or wraps several.
func leaves(err error) []error {
	var all []error
	var compiled ast.Errors
	var loaded loader.Errors
	var joined interface{ Unwrap() []error }
	switch {
	case errors.As(err, &joined):
		for _, one := range joined.Unwrap() {
			all = append(all, leaves(one)...)
		}
	case errors.As(err, &compiled):
		for _, one := range compiled {
			all = append(all, one)
		}
	case errors.As(err, &loaded):
		for _, one := range loaded {
			all = append(all, leaves(one)...)
		}
	default:
		all = append(all, err)
	}
	return all
}

// withDetails adds what OPA knows beyond the message, but not the line and the caret of a parse error, which
// every problem gets.
func withDetails(err *ast.Error) string {
	if _, isParse := err.Details.(*ast.ParserErrorDetail); err.Details == nil || isParse {
		return err.Message
	}
	return strings.Join(append([]string{err.Message}, err.Details.Lines()...), "\n")
}

func lineOf(fsys fs.FS, name string, row int) string {
	if fsys == nil {
		return ""
	}
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return ""
	}
	lines := strings.Split(string(text), "\n")
	if row < 1 || row > len(lines) || !utf8.ValidString(lines[row-1]) {
		return ""
	}
	return strings.TrimRight(lines[row-1], "\r")
}
