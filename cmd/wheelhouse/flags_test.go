package main

import (
	"testing"

	"k8s.io/apiserver/pkg/server/flagz"

	"github.com/wheelhouse-k8s/wheelhouse/master"
)

// What lets a master join must not be readable at /flagz, which monitoring may read.
func TestTokenIsNotShown(t *testing.T) {
	config := master.Default()
	f := &serverFlags{config: &config}
	sets := f.sections()
	if err := sets.FlagSets["several masters"].Parse([]string{"--token", "abcdef.0123456789abcdef", "--peer-port", "1234"}); err != nil {
		t.Fatal(err)
	}
	shown := flagz.NamedFlagSetsReader{FlagSets: sets}.GetFlagz()
	if shown["peer-port"] != "1234" || shown["token"] != "CLASSIFIED" {
		t.Errorf("token: %q, peer-port: %q", shown["token"], shown["peer-port"])
	}
}
