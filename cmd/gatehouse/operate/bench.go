package operate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/molecule-ai/gatehouse/adapters/opa/casetest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

type Bench struct {
	flags.Database
	URL         string        `env:"-" name:"url" required:"" help:"The server." placeholder:"http://…"`
	Token       string        `type:"secret" help:"Token of a caller whose role is registry; a variable is the better place for it." placeholder:"TOKEN"`
	Cases       []string      `env:"-" help:"Send the reviews of case files: files, or folders of them. The server looks up the facts." placeholder:"PATH" type:"path"`
	Decisions   bool          `env:"-" help:"Send again the reviews of the newest decisions that --database-url has."`
	Limit       int           `env:"-" help:"How many recorded decisions at most, up to 1000." default:"1000"`
	Hook        string        `env:"-" help:"Only reviews of this hook." placeholder:"HOOK"`
	Rate        float64       `env:"-" help:"Requests to send in a second, whether or not answers keep up; 0 for as fast as the connections allow." default:"100"`
	Duration    time.Duration `env:"-" help:"How long to send." default:"10s"`
	Connections int           `env:"-" help:"Requests that may be under way at once." default:"16"`
	Enforce     bool          `env:"-" help:"Send real reviews: they are recorded, and denies mark workspaces failed. Without it every request is a dry run."`
	Output      string        `help:"Form of the report." enum:"text,json" default:"text"`
}

// Run loads the server. It fails when no request was decided.
func (c *Bench) Run(ctx context.Context, to cli.Streams) error {
	err := c.check()
	if err != nil {
		return err
	}
	asked, err := c.inputs(ctx)
	if err != nil {
		return err
	}
	requests, err := c.requests(asked)
	if err != nil {
		return err
	}
	err = c.reach(ctx)
	if err != nil {
		return err
	}
	if c.Enforce {
		_, _ = fmt.Fprintf(to.Err, "ENFORCING: real reviews go to %s. They are recorded, and denies mark workspaces failed.\n", c.URL)
	}
	report := c.load(ctx, requests, to.Err)
	err = cli.Form{Output: c.Output}.Write(to.Out, report, report.write)
	if err == nil && report.Answered() == 0 {
		err = errors.New("no request was decided")
	}
	return err
}

func (c *Bench) check() error {
	parsed, err := url.Parse(c.URL)
	switch {
	case err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "":
		return errors.New("--url is not like http://127.0.0.1:8181")
	case c.Decisions == (len(c.Cases) > 0):
		return errors.New("say what to ask: either --cases or --decisions")
	case c.Limit < 1 || c.Limit > resources.MaxPage:
		return fmt.Errorf("--limit is a number from 1 to %d", resources.MaxPage)
	case c.Rate < 0 || c.Duration <= 0 || c.Connections < 1:
		return errors.New("--rate must not be negative, and --duration and --connections must be more than 0")
	}
	c.URL = strings.TrimRight(c.URL, "/")
	return nil
}

// inputs are what is asked, in the order of the files or from the newest decision on.
func (c *Bench) inputs(ctx context.Context) ([]admission.Input, error) {
	var all []admission.Input
	var err error
	if c.Decisions {
		all, err = c.recorded(ctx)
	} else {
		all, err = c.fromCases()
	}
	all = slices.DeleteFunc(all, func(in admission.Input) bool { return c.Hook != "" && in.Hook != c.Hook })
	if err == nil && len(all) == 0 {
		err = errors.New("nothing to ask: no review is there, or none of this hook")
	}
	return all, err
}

func (c *Bench) fromCases() ([]admission.Input, error) {
	var all []admission.Input
	for _, path := range c.Cases {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("--cases: %w", err)
		}
		folder, name := path, "."
		if !info.IsDir() {
			folder, name = filepath.Split(path)
		}
		cases, err := casetest.Load(os.DirFS(folder), name)
		if err != nil {
			return nil, err
		}
		for _, one := range cases {
			all = append(all, one.Input())
		}
	}
	return all, nil
}

// recorded leaves out decisions of whose request not everything was kept.
func (c *Bench) recorded(ctx context.Context) (all []admission.Input, err error) {
	err = c.WithStore(ctx, func(store *flags.OpenStore) error {
		found, err := store.Decisions(ctx, ledger.Query{
			Filter: ledger.Filter{Hook: c.Hook}, Limit: c.Limit,
		})
		for i := range found {
			decision := &found[i].Decision
			if slices.ContainsFunc(decision.Redaction.Pointers(), isOfRequest) {
				continue
			}
			in, err := admission.ReadInput(decision.Input)
			if err != nil {
				return fmt.Errorf("decision %s: %w", decision.ID, err)
			}
			all = append(all, in)
		}
		return err
	})
	return all, err
}

func isOfRequest(pointer string) bool {
	return admission.Overlaps(pointer, admission.InputPointer+"/request")
}

// benchRequest is a request that is ready to be sent.
type benchRequest struct {
	url  string
	body []byte
}

func (c *Bench) requests(asked []admission.Input) ([]benchRequest, error) {
	requests := make([]benchRequest, len(asked))
	for i, in := range asked {
		body, err := json.Marshal(map[string]any{
			"dry_run": !c.Enforce, "caller_proof": in.CallerProof, "workspace": in.Request,
		})
		if err != nil {
			return nil, fmt.Errorf("making a request: %w", err)
		}
		requests[i] = benchRequest{c.URL + "/v1/admission/" + url.PathEscape(in.Hook), body}
	}
	return requests, nil
}

// reach fails early where no server answers.
func (c *Bench) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, benchPatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+"/healthz", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("--url: %w", err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("--url: %s answers %s", request.URL, response.Status)
	}
	return nil
}
