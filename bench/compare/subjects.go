package compare

import (
	"fmt"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

// What the servers are called in the tables.
const (
	opaName          = "`opa run --server`, stores nothing"
	doItYourselfName = "do-it-yourself on Postgres: asks OPA, inserts"
	hardCodedName    = "hard-coded on Postgres: records nothing"
)

const (
	usual     = 16 // connections
	batchSize = 100
)

// connectionCounts are those of the tables of ratios.
func connectionCounts() []int { return []int{1, 16, 64, 256} }

// subjects are each server with each number of connections. Row A, which waits for no disk, has the usual number only.
func (c *Command) subjects(s *servers) ([]*rig.Subject, error) {
	some := rig.Mixed()
	bodies := map[string][]any{
		"question": rig.Each(some, question), "review": rig.Each(some, rig.Review),
		"failing":    rig.Each(rig.Failing(failingWorkspaces), rig.Review),
		"evaluation": rig.Each(some, evaluation), "batch": evaluationBatches(some, batchSize),
	}
	files := make(map[string]string)
	for name, all := range bodies {
		file, err := s.WriteRequests(name, all)
		if err != nil {
			return nil, err
		}
		files[name] = file
	}
	const denied = `"allowed":false`
	one := func(row, name string, server *rig.Process, path, requests, deny string) *rig.Subject {
		return &rig.Subject{
			Row: row, Name: name, Address: server.Address, Servers: []*rig.Process{server}, Scraped: row != "",
			Load: rig.Load{Path: path, Requests: files[requests], Connections: usual, Each: 1, Denied: deny},
		}
	}
	opa := one("", opaName, s.opa, "/v1/data/admission/register/deny", "question", `"reason"`)
	doItYourself := one("", doItYourselfName, s.doItYourself, rig.ReviewPath, "review", denied)
	doItYourself.Servers = append(doItYourself.Servers, s.opa)
	hardCoded := one("", hardCodedName, s.hardCoded, rig.ReviewPath, "review", denied)
	onPostgres := one("B", "full review on Postgres, durable", s.postgres, rig.ReviewPath, "review", denied)
	onSQLite := one("C", "full review on SQLite, durable", s.sqlite, rig.ReviewPath, "review", denied)
	denies := one("D", "denies with effect on Postgres, durable", s.postgres, rig.ReviewPath, "failing", `"marked_failed":true`)
	denies.AllDenied, denies.Before = true, s.unmark
	for _, subject := range []*rig.Subject{doItYourself, hardCoded, onPostgres, denies} {
		subject.Database = s.database
	}
	decisions := one("A", "decision only, facts in the request", s.sqlite, "/v1/evaluate", "evaluation", denied)
	batches := one("A batch", fmt.Sprintf("the same, %d in a request", batchSize), s.sqlite, "/v1/evaluate/batch", "batch", denied)
	batches.Each = batchSize
	var all []*rig.Subject
	for _, subject := range []*rig.Subject{opa, decisions, batches, doItYourself, hardCoded, onPostgres, onSQLite, denies} {
		counts := connectionCounts()
		if subject == decisions || subject == batches {
			counts = []int{usual}
		}
		if subject.Row != "" && !c.has(subject.Row) {
			continue
		}
		for _, count := range counts {
			with := *subject
			with.Connections = count
			all = append(all, &with)
		}
	}
	return all, nil
}

// find gives the subject of a row, or by its name one without a row; nil if it was not measured.
func (m *measurement) find(row string, connections int) *rig.Subject {
	for _, s := range m.subjects {
		if (s.Row == row || s.Name == row) && s.Connections == connections {
			return s
		}
	}
	return nil
}
