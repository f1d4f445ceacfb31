package regoval

import "fmt"

// Recovering turns a panic of OPA into an error. OPA has panicked on numbers before. The rest of the review, above all the
// ledger's transaction, must end as after any other error.
func Recovering(evaluate func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("the engine panicked: %v", cause)
		}
	}()
	return evaluate()
}
