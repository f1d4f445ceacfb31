package serve

// adminFlags are for looking into a server that runs.
type adminFlags struct {
	Pprof       bool   `help:"Serve profiles of this process at /debug/pprof/ on --admin-listen. See docs/operations.md."`
	AdminListen string `help:"Address and port of the listener for --pprof: loopback only, and open to whoever is on this machine." default:"127.0.0.1:8182"`
}
