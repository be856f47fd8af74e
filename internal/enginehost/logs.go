package enginehost

import (
	"errors"
	"os"
	"strconv"
)

// maxStepLog is how many bytes of one step's log are passed on. BuildKit cuts at
// two MiB, and at a hundred KiB a second, which test suites of real packages
// exceed; the log of a build is evidence and is wanted whole.
const maxStepLog = 64 << 20

// widenLogs raises those limits. BuildKit reads them from its own environment,
// which no step sees, when the first step begins.
func widenLogs() error {
	return errors.Join(
		os.Setenv("BUILDKIT_STEP_LOG_MAX_SIZE", strconv.Itoa(maxStepLog)),
		os.Setenv("BUILDKIT_STEP_LOG_MAX_SPEED", "-1"),
	)
}
