package controllers

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestSelect(t *testing.T) {
	all := func(o []Entry) []string {
		var names []string
		for _, e := range o {
			names = append(names, e.Name)
		}
		return names
	}
	for _, c := range []struct {
		words     string
		has, lack string
		fails     string
	}{
		{words: "*", has: "deployment-controller"},
		{words: "*,-deployment", lack: "deployment-controller", has: "replicaset-controller"},
		{words: "-deployment-controller,*", lack: "deployment-controller", has: "replicaset-controller"},
		{words: "namespace", has: "namespace-controller", lack: "deployment-controller"},
		{words: "namespace-controller,-namespace", has: "namespace-controller"},
		{words: "*,bootstrapsigner,tokencleaner", has: "ttl-controller"},
		{words: "*,nonsense", fails: `"nonsense" is not in the list of known controllers`},
		{words: "-nonsense", fails: `"nonsense"`},
		{words: "taint-eviction-controller", has: "taint-eviction-controller"},
	} {
		o := Options{Controllers: strings.Split(c.words, ",")}
		chosen, err := o.Select()
		if c.fails != "" {
			if err == nil || !strings.Contains(err.Error(), c.fails) {
				t.Errorf("%s: error %v, want %s", c.words, err, c.fails)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.words, err)
		}
		if c.has != "" && !slices.Contains(all(chosen), c.has) || c.lack != "" && slices.Contains(all(chosen), c.lack) {
			t.Errorf("%s chooses %v", c.words, all(chosen))
		}
	}
}

// TestCatalogHasAllNames: every name that upstream's --controllers takes is accepted, and stands once.
func TestCatalogHasAllNames(t *testing.T) {
	names := map[string]bool{}
	for _, e := range Catalog() {
		for _, name := range []string{e.Name, e.Alias} {
			if name != "" && names[name] {
				t.Errorf("%s stands twice", name)
			}
			names[name] = true
		}
		if e.New != nil && e.Account == "" {
			t.Errorf("%s has no account", e.Name)
		}
	}
	if n := len(Catalog()); n != 52 {
		t.Errorf("%d names, upstream has 52", n)
	}
}

// TestEachHasAllOptions: no package's options are forgotten.
func TestEachHasAllOptions(t *testing.T) {
	var o Options
	fields := reflect.ValueOf(&o).Elem()
	for i := range fields.NumField() {
		own, ok := fields.Field(i).Addr().Interface().(options)
		if ok && !slices.Contains(o.each(), own) {
			t.Errorf("%s is not in each", fields.Type().Field(i).Name)
		}
		if !ok && fields.Type().Field(i).Name != "Controllers" {
			t.Errorf("%s has no flags", fields.Type().Field(i).Name)
		}
	}
}
