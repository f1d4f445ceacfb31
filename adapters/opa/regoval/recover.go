package regoval

import "fmt"

// Recovering makes a panic of OPA an error like any other. OPA has panicked on numbers before. The rest of the review's
// way, the ledger's transaction above all, must end as it does after an error.
func Recovering(evaluate func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("the engine panicked: %v", cause)
		}
	}()
	return evaluate()
}
