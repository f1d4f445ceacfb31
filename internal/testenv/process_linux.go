package testenv

import "syscall"

// serverAttributes makes the server end with the test binary, even a killed
// one, and keeps the terminal's Ctrl-C from it: whoever started it decides.
// ending is the signal on which the server ends at once.
func serverAttributes(account *syscall.Credential, ending syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: account, Setpgid: true, Pdeathsig: ending}
}
