package yamlfile

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v4"
)

// maxAliased bounds how many values aliases may stand for.
const maxAliased = 100_000

// readYAML reads YAML text of one document.
func readYAML(name string, text []byte) (*Document, error) {
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var root, second yaml.Node
	err = loader.Load(&root)
	if errors.Is(err, io.EOF) {
		return nil, &Error{name, 1, 1, ErrEmpty}
	}
	if err != nil {
		return nil, syntaxError(name, err)
	}
	err = loader.Load(&second)
	if err == nil {
		return nil, &Error{name, second.Line, second.Column, errors.New("a second document begins here: a file holds one")}
	}
	if !errors.Is(err, io.EOF) {
		return nil, syntaxError(name, err)
	}
	if len(root.Content) != 1 {
		return nil, &Error{name, 1, 1, ErrEmpty}
	}
	err = checkOPAReads(name, text, &root)
	if err != nil {
		return nil, err
	}
	reader := yamlReader{name: name, within: make(map[*yaml.Node]bool)}
	value, err := reader.value(root.Content[0])
	if err != nil {
		return nil, err
	}
	return &Document{name, value, func(where jsontext.Pointer) position { return locateYAML(root.Content[0], where) }}, nil
}

// syntaxError leaves out what the library quotes of the text: the name of an anchor is a value that begins with *.
func syntaxError(name string, err error) error {
	var load *yaml.LoadError
	if !errors.As(err, &load) {
		return &Error{name, 1, 1, errors.New("this is no YAML")}
	}
	message := load.Message
	switch {
	case strings.HasPrefix(message, "unknown anchor"):
		message = "an alias without its anchor: quote a text that begins with *"
	case strings.Contains(message, "cannot start any token"):
		message = "a tab or another character that cannot begin a value: indent with spaces, quote texts"
	case strings.Contains(message, "incompatible YAML document"):
		message = "a %YAML line is not taken: leave it out"
	case load.Stage != yaml.ScannerStage && load.Stage != yaml.ParserStage: // those say nothing of the text
		message = "this is no YAML"
	}
	return &Error{name, max(load.Mark.Line, 1), max(load.Mark.Column, 1), errors.New(message)}
}

// yamlReader turns nodes into values.
type yamlReader struct {
	name    string
	within  map[*yaml.Node]bool // the anchored nodes whose aliases are being followed
	aliased int                 // values that aliases stood for
}

func (r *yamlReader) refuse(node *yaml.Node, format string, args ...any) error {
	return &Error{r.name, node.Line, node.Column, fmt.Errorf(format, args...)}
}

func (r *yamlReader) value(node *yaml.Node) (any, error) {
	if len(r.within) > 0 {
		r.aliased++
		if r.aliased > maxAliased {
			return nil, r.refuse(node, "aliases stand for more than %d values", maxAliased)
		}
	}
	if node.Style&yaml.TaggedStyle != 0 {
		return nil, r.refuse(node, "tags (!…) are not taken: quote what is a text")
	}
	switch node.Kind {
	case yaml.AliasNode:
		return r.alias(node)
	case yaml.MappingNode:
		return r.mapping(node)
	case yaml.SequenceNode:
		return r.sequence(node)
	default:
		return r.scalar(node)
	}
}

func (r *yamlReader) alias(node *yaml.Node) (any, error) {
	if r.within[node.Alias] {
		return nil, r.refuse(node, "the alias stands for something that holds it")
	}
	r.within[node.Alias] = true
	defer delete(r.within, node.Alias)
	return r.value(node.Alias)
}

func (r *yamlReader) sequence(node *yaml.Node) (any, error) {
	values := make([]any, len(node.Content))
	for i, element := range node.Content {
		var err error
		values[i], err = r.value(element)
		if err != nil {
			return nil, err
		}
	}
	return values, nil
}

func (r *yamlReader) mapping(node *yaml.Node) (any, error) {
	object := make(map[string]any, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, err := r.key(node.Content[i])
		if err != nil {
			return nil, err
		}
		if _, twice := object[key]; twice {
			return nil, r.refuse(node.Content[i], "%w", duplicateKey(key))
		}
		object[key], err = r.value(node.Content[i+1])
		if err != nil {
			return nil, err
		}
	}
	return object, nil
}

func (r *yamlReader) key(node *yaml.Node) (string, error) {
	if node.Kind == yaml.ScalarNode && node.Style == 0 && node.Value == "<<" {
		return "", r.refuse(node, "merge keys (<<) are not taken: write the keys out, or quote the key")
	}
	if node.Kind == yaml.AliasNode {
		return "", r.refuse(node, "an alias cannot be a key")
	}
	if node.Kind != yaml.ScalarNode {
		return "", r.refuse(node, "a key must be a text")
	}
	value, err := r.value(node)
	if err != nil {
		return "", err
	}
	key, isText := value.(string)
	if !isText {
		return "", r.refuse(node, "a key must be a text: quote it")
	}
	return key, nil
}

func (r *yamlReader) scalar(node *yaml.Node) (any, error) {
	const quoted = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	if node.Style&quoted != 0 {
		return node.Value, nil
	}
	value, err := plain(node.Value)
	if err != nil {
		return nil, r.refuse(node, "%w", err)
	}
	return value, nil
}

// plain is what a word without quotes means.
func plain(word string) (any, error) {
	switch word {
	case "", "~", "null", "Null", "NULL":
		return nil, nil
	case "true", "True", "TRUE":
		return true, nil
	case "false", "False", "FALSE":
		return false, nil
	case "<<", "=":
		return nil, errors.New("YAML 1.1 and 1.2 read this differently: quote it")
	}
	switch {
	case switchWord.MatchString(word):
		return nil, errors.New("YAML 1.1 reads this as true or false, YAML 1.2 as a text: quote it, or write true or false")
	case number.MatchString(word):
		return numberOf(word)
	case hexadecimal.MatchString(word):
		value, err := strconv.ParseUint(word[2:], 16, 64)
		if err != nil {
			return nil, errNumberLost
		}
		return stdjson.Number(strconv.FormatUint(value, 10)), nil
	case notFinite.MatchString(word):
		return nil, errors.New("JSON has no such number: quote it if it is a text")
	case otherNumber.MatchString(word):
		return nil, errors.New("YAML 1.1 and 1.2 read this as different numbers, or one of them as a text: " +
			"quote it, or write the number in decimal digits without a leading 0")
	default:
		return word, nil
	}
}

// locateYAML follows a pointer, to the name of a member or to an element.
func locateYAML(node *yaml.Node, where jsontext.Pointer) position {
	at := position{node.Line, node.Column}
	for token := range where.Tokens() {
		for node.Kind == yaml.AliasNode {
			node = node.Alias
		}
		place, next := step(node, token)
		if next == nil {
			return at
		}
		at, node = position{place.Line, place.Column}, next
	}
	return at
}

// step gives where a member or an element is, and its value.
func step(node *yaml.Node, token string) (place, value *yaml.Node) {
	if node.Kind == yaml.SequenceNode {
		index, err := strconv.Atoi(token)
		if err != nil || index < 0 || index >= len(node.Content) {
			return nil, nil
		}
		return node.Content[index], node.Content[index]
	}
	for i := 0; node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == token {
			return node.Content[i], node.Content[i+1]
		}
	}
	return nil, nil
}
