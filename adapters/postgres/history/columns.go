package history

import (
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// EncodeViolations gives the column of JSON.
func EncodeViolations(violations []admission.Violation) ([]byte, error) {
	text, err := json.Marshal(violations)
	if err != nil {
		return nil, fmt.Errorf("encoding the violations: %w", err)
	}
	return text, nil
}

// OrNull gives nil, which is NULL, for no text.
func OrNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
