package stream

import "slices"

// cut is the part of a ledger that has been read: every seq up to high but those in gaps.
type cut struct {
	high int64
	gaps []gap // in order, apart from each other
}

// gap is a run of seqs that could not be read when a higher one could. They are being written still, or were
// rolled back, or never given.
type gap struct {
	first, last int64
	round       int // of the Hub, in which it was found
	// writers are the transactions that may have taken one of the seqs. They are not known in the round in which
	// the gap was found.
	writers []string
	asked   bool // whether writers are known
}

func (c *cut) has(seq int64) bool {
	if seq > c.high {
		return false
	}
	_, missing := c.find(seq)
	return !missing
}

// find gives the gap that seq is in, or the one that would come after it.
func (c *cut) find(seq int64) (int, bool) {
	return slices.BinarySearchFunc(c.gaps, seq, func(g gap, seq int64) int {
		switch {
		case g.last < seq:
			return -1
		case g.first > seq:
			return 1
		default:
			return 0
		}
	})
}

// add adds a seq that was read in this round. What it leaves out becomes a gap.
func (c *cut) add(seq int64, round int) {
	if seq > c.high {
		if seq > c.high+1 {
			c.gaps = append(c.gaps, gap{first: c.high + 1, last: seq - 1, round: round})
		}
		c.high = seq
		return
	}
	i, missing := c.find(seq)
	if !missing {
		return
	}
	before, after := c.gaps[i], c.gaps[i]
	before.last, after.first = seq-1, seq+1
	rest := make([]gap, 0, 2)
	for _, g := range []gap{before, after} {
		if g.first <= g.last {
			rest = append(rest, g)
		}
	}
	c.gaps = slices.Replace(c.gaps, i, i+1, rest...)
}

// settle drops the gaps that will stay empty: those found before this round, of which no writer is left.
func (c *cut) settle(round int, writing []string) {
	c.gaps = slices.DeleteFunc(c.gaps, func(g gap) bool { return g.round < round && len(g.left(writing)) == 0 })
	for i := range c.gaps {
		g := &c.gaps[i]
		if g.round < round {
			g.writers, g.asked = g.left(writing), true
		}
	}
}

// left are the gap's writers that are still writing. When it is asked for the first time, every transaction that is writing may be
// one.
func (g *gap) left(writing []string) []string {
	if !g.asked {
		return writing
	}
	return common(g.writers, writing)
}

// watermark is the greatest seq with all below it read.
func (c *cut) watermark() int64 {
	if len(c.gaps) > 0 {
		return c.gaps[0].first - 1
	}
	return c.high
}

func (c *cut) clone() cut { return cut{high: c.high, gaps: slices.Clone(c.gaps)} }

func common(a, b []string) []string {
	var both []string
	for _, name := range a {
		if slices.Contains(b, name) {
			both = append(both, name)
		}
	}
	return both
}
