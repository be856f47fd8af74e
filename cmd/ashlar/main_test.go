package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// asProgram makes the test binary be the program when it is set in its environment.
const asProgram = "ASHLAR_TEST_AS_PROGRAM"

// TestMain lets the test binary be the program, its engine and its signer, so
// that tests run exactly what was compiled with them.
func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" || len(os.Args) > 1 && (os.Args[1] == "engine" || os.Args[1] == "signer") {
		main()
	}
	testscript.Main(withHouse{m}, map[string]func(){"ashlar": main})
}

// withHouse takes the shared house down after all tests.
type withHouse struct{ *testing.M }

func (m withHouse) Run() int {
	code := m.M.Run()
	if err := shared.end(); err != nil {
		fmt.Fprintln(os.Stderr, "take the test's state down:", err)
		return 1
	}
	return code
}

// TestCommandLine runs the scripts of testdata/script. None of them needs the
// engine or the network.
func TestCommandLine(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("ASHLAR_STATE", env.WorkDir+"/state")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits},
	})
}
