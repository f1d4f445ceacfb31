package admission

import "slices"

// CardPointer is the place of an agent's card. A record has of it what AgentCard says, unless policies read more.
const CardPointer = "/input/request/agent_card"

// NamePointer and URLPointer are what a masked card keeps as it was, unless a redaction names them too.
const (
	NamePointer = CardPointer + "/name"
	URLPointer  = CardPointer + "/url"
)

// Hides says whether a verdict that depends on no more of the input than what is at, or below, some pointers can
// be reached from the input as it is recorded, and if not, which redaction is in the way.
func (r Redaction) Hides(reads []string) (pointer string, hidden bool) {
	for _, pointer := range r.Pointers() {
		for _, read := range reads {
			if Overlaps(pointer, read) && !r.keeps(pointer, read) {
				return pointer, true
			}
		}
	}
	return "", false
}

// keeps says whether the mask at a pointer left what is read as it was.
func (r Redaction) keeps(pointer, read string) bool {
	return pointer == CardPointer && (read == NamePointer || read == URLPointer) && !slices.Contains(r.Erased, pointer)
}
