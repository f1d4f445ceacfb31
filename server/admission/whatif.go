package admission

import "fmt"

// WhatIf is a review that is only to be evaluated. Facts are nil where those that are stored count.
type WhatIf struct {
	Review Review
	Facts  *Facts
}

// WhatIfOptions say how a review is to be evaluated.
type WhatIfOptions struct {
	Candidate map[string]string // texts of policy files by name; nil for the live policies
	Explain   bool
}

type whatIf struct {
	Review envelope `json:"review"`
	Facts  *Facts   `json:"facts"`
}

// DecodeWhatIf reads the body of POST /v1/evaluate, as strictly as DecodeReview does.
func DecodeWhatIf(body []byte, maxDepth int) (WhatIf, WhatIfOptions, error) {
	var sent struct {
		Hook string `json:"hook"`
		whatIf
		Candidate *struct {
			Files map[string]string `json:"files"`
		} `json:"candidate"`
		Explain bool `json:"explain"`
	}
	err := DecodeStrict(body, &sent, maxDepth)
	if err != nil {
		return WhatIf{}, WhatIfOptions{}, err
	}
	options := WhatIfOptions{Explain: sent.Explain}
	if sent.Candidate != nil {
		options.Candidate = sent.Candidate.Files
		if len(options.Candidate) == 0 {
			return WhatIf{}, WhatIfOptions{}, Malformed("candidate.files is required and not empty")
		}
	}
	asked, err := sent.on(sent.Hook)
	return asked, options, err
}

// DecodeWhatIfs reads the body of POST /v1/evaluate/batch. One malformed review refuses the whole batch.
func DecodeWhatIfs(body []byte, maxDepth int) ([]WhatIf, error) {
	var sent struct {
		Hook    string   `json:"hook"`
		Reviews []whatIf `json:"reviews"`
	}
	err := DecodeStrict(body, &sent, maxDepth)
	if err != nil {
		return nil, err
	}
	err = checkBatch(len(sent.Reviews))
	if err != nil {
		return nil, err
	}
	asked := make([]WhatIf, len(sent.Reviews))
	for i := range sent.Reviews {
		asked[i], err = sent.Reviews[i].on(sent.Hook)
		if err != nil {
			return nil, inBatch(i, err)
		}
	}
	return asked, nil
}

func (w whatIf) on(hook string) (WhatIf, error) {
	if hook == "" {
		return WhatIf{}, Malformed("hook is required")
	}
	review, err := w.Review.review(hook)
	if err != nil || w.Facts == nil {
		return WhatIf{Review: review}, err
	}
	if !w.Facts.Exists && len(w.Facts.Workspace) > 0 && string(w.Facts.Workspace) != "{}" {
		return WhatIf{}, Malformed("facts: a workspace is given, so exists must be true")
	}
	if w.Facts.Exists && w.Facts.Workspace.Kind() == '{' {
		stored, err := namedOf(w.Facts.Workspace)
		if err != nil {
			return WhatIf{}, Malformed("facts: " + err.Error())
		}
		w.Facts.kind = stored.kind
	}
	facts, err := w.Facts.checked()
	if err != nil {
		return WhatIf{}, Malformed(err.Error())
	}
	return WhatIf{Review: review, Facts: &facts}, nil
}

func checkBatch(entries int) error {
	switch {
	case entries == 0:
		return Malformed("reviews is required and not empty")
	case entries > MaxBatch:
		return Malformed(fmt.Sprintf("reviews has %d entries, more than %d", entries, MaxBatch))
	}
	return nil
}

func inBatch(index int, err error) error {
	return Malformed(fmt.Sprintf("reviews[%d]: %s", index, AsError(err).Detail))
}
