package yamlfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	yaml3 "go.yaml.in/yaml/v3"
	"go.yaml.in/yaml/v4"
)

// checkOPAReads refuses text that OPA's library (v3) reads otherwise than the one that Read takes for its positions
// and for YAML 1.2 (v4). They differ in corners such as {a:,b}, where v3 has a key "a:".
func checkOPAReads(name string, text []byte, root *yaml.Node) error {
	decoder := yaml3.NewDecoder(bytes.NewReader(text))
	var read yaml3.Node
	err := decoder.Decode(&read)
	if err == nil {
		err = decoder.Decode(new(yaml3.Node))
	}
	if !errors.Is(err, io.EOF) {
		line := 1
		if err != nil {
			_, _ = fmt.Sscanf(err.Error(), "yaml: line %d:", &line) // the library says no more; often it says nothing
		}
		return &Error{name, line, 1, errors.New("OPA does not read this as YAML: write it more plainly")}
	}
	if differing := firstDifference(root, &read); differing != nil {
		return &Error{name, differing.Line, differing.Column,
			errors.New("readers of YAML disagree on this: write it more plainly, with quotes and spaces")}
	}
	return nil
}

// firstDifference is the first node that the other library read otherwise, nil if there is none.
func firstDifference(node *yaml.Node, other *yaml3.Node) *yaml.Node {
	if uint32(node.Kind) != uint32(other.Kind) || uint32(node.Style) != uint32(other.Style) ||
		node.Value != other.Value || len(node.Content) != len(other.Content) {
		return node
	}
	for i, child := range node.Content {
		if differing := firstDifference(child, other.Content[i]); differing != nil {
			return differing
		}
	}
	return nil
}
