package rig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Milliseconds is d as a number.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Median is the middle of values, of which there must be one.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Thousands writes 12345 as 12,345.
func Thousands(value float64) string {
	digits := fmt.Sprintf("%.0f", value)
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// Page is Markdown.
type Page struct{ strings.Builder }

// Say adds text.
func (p *Page) Say(format string, values ...any) { _, _ = fmt.Fprintf(p, format, values...) }

// Row adds a line of a table.
func (p *Page) Row(cells ...string) { p.Say("| %s |\n", strings.Join(cells, " | ")) }

// Table begins one.
func (p *Page) Table(columns ...string) {
	p.Say("\n")
	p.Row(columns...)
	p.Say("|%s\n", strings.Repeat("---|", len(columns)))
}

// Heading says where and when it was measured.
func (p *Page) Heading(ctx context.Context, r *Rig, o Options, command string, began time.Time, more ...string) error {
	commit, err := Command(ctx, o.Repository, "git", "describe", "--always", "--dirty")
	if err != nil {
		return fmt.Errorf("asking git for the commit: %w: %s", err, commit)
	}
	sync, err := r.syncTime()
	if err != nil {
		return err
	}
	load, _, _ := strings.Cut(fromFile("/proc/loadavg", `(?s)(.*)`), " ")
	p.Say("Measured %s in %s by `%s` at %s, in %d rounds of %d s for each line. Machine: %d cores (%s) for everything, %s of memory, Linux %s, %s, %s. "+
		"The load average was %s at the end; writing 8 kB and syncing them took %.1f ms.\n",
		time.Now().UTC().Format(time.DateOnly), time.Since(began).Round(time.Second), command, commit, o.Rounds, o.Seconds, runtime.NumCPU(),
		fromFile("/proc/cpuinfo", `(?m)^model name\s*:\s*(.*)$`), fromFile("/proc/meminfo", `(?m)^MemTotal:\s*(.*)$`),
		fromFile("/proc/sys/kernel/osrelease", `(.*)`), runtime.Version(), strings.Join(more, ", "), load, Milliseconds(sync))
	return nil
}

// fromFile is what a pattern finds in a file of /proc.
func fromFile(path, pattern string) string {
	text, _ := os.ReadFile(path) // a machine that does not say is one that is not named
	found := regexp.MustCompile(pattern).FindStringSubmatch(string(text))
	if found == nil {
		return "unknown"
	}
	return found[1]
}

// syncTime is how long this machine takes to make 8 kB durable: what every commit costs at least.
func (r *Rig) syncTime() (time.Duration, error) {
	const times, block = 100, 8 << 10
	file, err := os.Create(filepath.Join(r.Folder, "sync"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }() // nobody reads it
	all := make([]float64, times)
	for i := range all {
		began := time.Now()
		_, err = file.WriteAt(make([]byte, block), int64(i*block))
		if err == nil {
			err = file.Sync()
		}
		if err != nil {
			return 0, err
		}
		all[i] = float64(time.Since(began))
	}
	return time.Duration(Median(all)), nil
}

// Command gives what a program prints.
func Command(ctx context.Context, folder string, arguments ...string) (string, error) {
	c := exec.CommandContext(ctx, arguments[0], arguments[1:]...)
	c.Dir = folder
	text, err := c.CombinedOutput()
	return strings.TrimSpace(string(text)), err
}

// Publish prints the tables and puts them into a page, between the comments that name the command.
func (p *Page) Publish(page, command string) error {
	fmt.Println(p.String())
	if page == "" {
		return nil
	}
	begin, end := fmt.Sprintf("<!-- %s -->\n", command), fmt.Sprintf("<!-- end of %s -->\n", command)
	now, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(now), begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		return fmt.Errorf("%s has no marks %q and %q", page, begin, end)
	}
	return os.WriteFile(page, []byte(before+begin+p.String()+end+after), 0o644) //nolint:gosec // a page is for everybody to read
}
