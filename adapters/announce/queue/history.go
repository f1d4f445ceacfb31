package queue

import (
	"time"

	"github.com/go-json-experiment/json"
	"github.com/riverqueue/river/rivertype"
)

// History is what a job's row tells of its failed attempts.
type History struct {
	Failures int `json:"failures"`
	// FirstFailed is when the time for retries began. It is zero while it has not:
	// a sink that was disabled is not one that failed.
	FirstFailed time.Time `json:"first_failed"`
	Error       string    `json:"error"` // of the last one
}

// ReadHistory takes an unreadable history for none. Retries then begin anew, which is better than no delivery.
func ReadHistory(row *rivertype.JobRow) History {
	var metadata struct {
		Output History `json:"output"`
	}
	err := json.Unmarshal(row.Metadata, &metadata)
	if err != nil {
		return History{}
	}
	return metadata.Output
}
