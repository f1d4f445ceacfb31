package announce
import "testing"
func BenchmarkClient(b *testing.B){ o,_:=NewPostgresOutbox("registry"); b.ReportAllocs(); for b.Loop(){ o.client() } }
