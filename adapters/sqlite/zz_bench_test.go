package sqlite_test

import (
	"os"
	"testing"
	"path/filepath"

	"gatehouse/adapters/sqlite"
)

func BenchmarkFacts(b *testing.B) {
	s := openDemo(b, sqlite.Options{Path: filepath.Join(b.TempDir(), "x.db")})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Facts(b.Context(), concierge); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	s := openDemo(b, sqlite.Options{Path: filepath.Join(b.TempDir(), "x.db")})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Record(b.Context(), allow(concierge)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRecordParallel(b *testing.B) {
	s := openDemo(b, sqlite.Options{Path: filepath.Join(b.TempDir(), "x.db")})
	b.ReportAllocs()
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			d := allow(concierge)
			d.UID = d.ID.String()
			if _, err := s.Record(b.Context(), d); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkFactsPrepared(b *testing.B) {
	s := openDemo(b, sqlite.Options{Path: filepath.Join(b.TempDir(), "x.db")})
	q, _ := os.ReadFile("facts.sql")
	st, err := s.Writer().Prepare(string(q))
	if err != nil {
		b.Fatal(err)
	}
	var e int
	var w, k, g string
	b.ReportAllocs()
	for b.Loop() {
		if err := st.QueryRowContext(b.Context(), concierge.String()).Scan(&e, &w, &k, &g); err != nil {
			b.Fatal(err)
		}
	}
}
func BenchmarkFactsRaw(b *testing.B) {
	s := openDemo(b, sqlite.Options{Path: filepath.Join(b.TempDir(), "x.db")})
	q, _ := os.ReadFile("facts.sql")
	var e int
	var w, k, g string
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Writer().QueryRowContext(b.Context(), string(q), concierge.String()).Scan(&e, &w, &k, &g); err != nil {
			b.Fatal(err)
		}
	}
}
