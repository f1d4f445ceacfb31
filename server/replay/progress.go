package replay

import (
	"sync"

	"github.com/molecule-ai/gatehouse/server/ledger"
)

// progress adds up what workers have done.
type progress struct {
	tell  func(Progress)
	mutex sync.Mutex
	sum   Progress
}

func (p *progress) done(page []ledger.Decision) {
	if p.tell == nil {
		return
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.sum.Read += int64(len(page))
	first, last := page[0].Decision.At, page[len(page)-1].Decision.At
	if first.After(p.sum.Newest) {
		p.sum.Newest = first
	}
	if p.sum.Reached.IsZero() || last.Before(p.sum.Reached) {
		p.sum.Reached = last
	}
	p.tell(p.sum)
}
