package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/jackc/pgx/v5/pgxpool"
)

// DoItYourself looks facts up, asks OPA over HTTP, inserts the decision and answers.
type DoItYourself struct {
	Flags
	OPA string `required:"" help:"Address of OPA."`
}

const tableSQL = `
create table if not exists peer_decisions (
  id uuid primary key default gen_random_uuid(),
  at timestamptz not null default now(),
  workspace_id uuid not null,
  allowed boolean not null,
  violations jsonb not null,
  input jsonb not null
)`

const insertSQL = `insert into peer_decisions (workspace_id, allowed, violations, input) values ($1, $2, $3, $4)`

// input is what the rules read.
type input struct {
	Request json.RawMessage `json:"request"`
	Facts   facts           `json:"facts"`
	URL     readURL         `json:"url"`
}

type readURL struct {
	Valid  bool   `json:"valid"`
	Scheme string `json:"scheme"`
	Host   string `json:"host"`
	Port   int    `json:"port"`
	IP     string `json:"ip"`
}

// Run serves until ctx ends.
func (d *DoItYourself) Run(ctx context.Context) error {
	db, err := connect(ctx, d.Database)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.Exec(ctx, tableSQL)
	if err != nil {
		return fmt.Errorf("making the table of decisions: %w", err)
	}
	opa := &opaClient{
		url:  "http://" + d.OPA + "/v1/data/admission/register/deny",
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}, // all that callers here can need stay open
	}
	return serve(ctx, d.Listen, func(ctx context.Context, asked registration, request json.RawMessage) ([]violation, error) {
		return decide(ctx, db, opa, asked, request)
	})
}

func decide(ctx context.Context, db *pgxpool.Pool, opa *opaClient, asked registration, request json.RawMessage) ([]violation, error) {
	known, err := lookUp(ctx, db, asked.ID)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(input{Request: request, Facts: known, URL: read(asked.URL)})
	if err != nil {
		return nil, err
	}
	violations, err := opa.ask(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("asking OPA: %w", err)
	}
	_, err = db.Exec(ctx, insertSQL, asked.ID, len(violations) == 0, violations, text)
	if err != nil {
		return nil, fmt.Errorf("recording the decision: %w", err)
	}
	return violations, nil
}

func read(text string) readURL {
	parsed, err := url.Parse(text)
	if err != nil || parsed.Host == "" {
		return readURL{}
	}
	found := readURL{Valid: true, Scheme: parsed.Scheme, Host: parsed.Hostname(), Port: 443}
	if address, isAddress := addressOf(found.Host); isAddress {
		found.IP = address.String()
	}
	if port, err := strconv.Atoi(parsed.Port()); err == nil {
		found.Port = port
	}
	return found
}

type opaClient struct {
	url  string
	http *http.Client
}

func (o *opaClient) ask(ctx context.Context, input json.RawMessage) ([]violation, error) {
	body, err := json.Marshal(map[string]json.RawMessage{"input": input})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, o.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := o.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", response.Status, text)
	}
	var said struct {
		Result []violation `json:"result"`
	}
	err = json.Unmarshal(text, &said)
	if err == nil && said.Result == nil { // an OPA without the rules answers {}
		err = fmt.Errorf("no result in %s", text)
	}
	return said.Result, err
}
