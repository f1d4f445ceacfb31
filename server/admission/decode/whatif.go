package decode

import (
	"fmt"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// Trial is a review that is to be evaluated, and how.
type Trial struct {
	admission.WhatIf
	Candidate map[string]string // texts of policy files by name; nil for the live policies
	Explain   bool
}

type whatIf struct {
	Review envelope         `json:"review"`
	Facts  *admission.Facts `json:"facts"`
}

// WhatIf reads the body of POST /v1/evaluate, as strictly as Review does.
func WhatIf(body []byte, maxDepth int) (Trial, error) {
	var sent struct {
		Hook string `json:"hook"`
		whatIf
		Candidate *struct {
			Files map[string]string `json:"files"`
		} `json:"candidate"`
		Explain bool `json:"explain"`
	}
	err := Strict(body, &sent, maxDepth)
	if err != nil {
		return Trial{}, err
	}
	trial := Trial{Explain: sent.Explain}
	if sent.Candidate != nil {
		trial.Candidate = sent.Candidate.Files
		if len(trial.Candidate) == 0 {
			return Trial{}, admission.Malformed("candidate.files is required and not empty")
		}
	}
	trial.WhatIf, err = sent.on(sent.Hook)
	return trial, err
}

// WhatIfs reads the body of POST /v1/evaluate/batch. One malformed review refuses the whole batch.
func WhatIfs(body []byte, maxDepth int) ([]admission.WhatIf, error) {
	var sent struct {
		Hook    string   `json:"hook"`
		Reviews []whatIf `json:"reviews"`
	}
	err := Strict(body, &sent, maxDepth)
	if err != nil {
		return nil, err
	}
	err = checkBatch(len(sent.Reviews))
	if err != nil {
		return nil, err
	}
	asked := make([]admission.WhatIf, len(sent.Reviews))
	for i := range sent.Reviews {
		asked[i], err = sent.Reviews[i].on(sent.Hook)
		if err != nil {
			return nil, inBatch(i, err)
		}
	}
	return asked, nil
}

func (w whatIf) on(hook string) (admission.WhatIf, error) {
	if hook == "" {
		return admission.WhatIf{}, admission.Malformed("hook is required")
	}
	review, err := w.Review.review(hook)
	if err != nil || w.Facts == nil {
		return admission.WhatIf{Review: review}, err
	}
	if !w.Facts.Exists && len(w.Facts.Workspace) > 0 && string(w.Facts.Workspace) != "{}" {
		return admission.WhatIf{}, admission.Malformed("facts: a workspace is given, so exists must be true")
	}
	kind := ""
	if w.Facts.Exists && w.Facts.Workspace.Kind() == '{' {
		stored, err := namedOf(w.Facts.Workspace)
		if err != nil {
			return admission.WhatIf{}, admission.Malformed("facts: " + err.Error())
		}
		kind = stored.kind
	}
	facts, err := w.Facts.Checked(kind)
	if err != nil {
		return admission.WhatIf{}, admission.Malformed(err.Error())
	}
	return admission.WhatIf{Review: review, Facts: &facts}, nil
}

func checkBatch(entries int) error {
	switch {
	case entries == 0:
		return admission.Malformed("reviews is required and not empty")
	case entries > MaxBatch:
		return admission.Malformed(fmt.Sprintf("reviews has %d entries, more than %d", entries, MaxBatch))
	}
	return nil
}

func inBatch(index int, err error) error {
	return admission.Malformed(fmt.Sprintf("reviews[%d]: %s", index, admission.AsError(err).Detail))
}
