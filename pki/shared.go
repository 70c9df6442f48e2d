package pki

import (
	"fmt"
	"slices"
	"strings"
)

// fileNames are all files of a folder, in the order in which they are written: what must be there for another comes
// before it.
func fileNames() []string {
	names := sharedNames()
	for _, l := range leaves {
		names = append(names, l.name+".key", l.name+".crt")
	}
	return names
}

// sharedNames are the files that all masters have in common.
func sharedNames() []string {
	var names []string
	for _, t := range trusts {
		names = append(names, trustFiles(t.name)...)
	}
	return append(names, tokenKeyFile, tokenNextKeyFile, tokenPublicFile)
}

// temporary tells whether a shared file is there only in the course of a rotation.
func temporary(name string) bool {
	return strings.Contains(name, nextSuffix+".") || strings.HasSuffix(name, crossSuffix)
}

// Shared gives the files that all masters of the cluster have in common, by their name in the folder: the authorities,
// with keys, and the keys of service account tokens. The contents must not be changed.
func (a *Authority) Shared() map[string][]byte {
	files := map[string][]byte{}
	for _, name := range sharedNames() {
		if data := a.now.Load().files[name]; data != nil {
			files[name] = data
		}
	}
	return files
}

// Install takes what another master's Shared gave. Everything is checked first; then the files are written so that after a
// crash at any time either all of them or none are in place; then they are in use: certificates of this master
// whose authority changed are issued anew. Installing what is there already changes nothing. A key that is not given
// stays if it still belongs to its certificate.
func (a *Authority) Install(files map[string][]byte) error {
	known := sharedNames()
	for name, data := range files {
		if !slices.Contains(known, name) {
			return unknown("shared file", name, known)
		}
		if len(data) == 0 {
			return fmt.Errorf("pki: the shared file %s is empty", name)
		}
	}
	for _, name := range []string{trustCA + ".crt", trustFrontProxy + ".crt", tokenPublicFile} {
		if files[name] == nil {
			return fmt.Errorf("pki: the shared file %s is missing", name)
		}
	}
	_, err := a.change(func(have map[string][]byte) error {
		for _, name := range known {
			switch {
			case files[name] != nil:
				have[name] = files[name]
			case temporary(name):
				delete(have, name)
			}
		}
		return nil
	}, func(b *builder) { b.reissue = true })
	return err
}

func unknown(what, name string, known []string) error {
	return fmt.Errorf("pki: there is no %s %q: known are %s", what, name, strings.Join(known, ", "))
}
