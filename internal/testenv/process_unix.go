//go:build unix && !linux

package testenv

import "syscall"

// serverAttributes cannot make the server end with a killed test binary where
// there is no parent-death signal. PostgreSQL then ends by itself once its
// folder is gone.
func serverAttributes(account *syscall.Credential, _ syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: account, Setpgid: true}
}
