package console

import (
	"testing"

	"apimrelay/sandbox/gateway"
	"apimrelay/sandbox/host"
	"apimrelay/sandbox/identity"
)

func TestEachFaultIsExplained(t *testing.T) {
	for standIn, names := range map[string][]string{
		"host": host.FaultNames(), "identity": identity.FaultNames(), "gateway": gateway.FaultNames(),
	} {
		if len(names) != len(FaultHelp[standIn]) {
			t.Errorf("%s has %d faults, %d are explained", standIn, len(names), len(FaultHelp[standIn]))
		}
		for _, name := range names {
			if FaultHelp[standIn][name] == "" {
				t.Errorf("%s: %s is not explained", standIn, name)
			}
		}
	}
}
