package keys

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/apiserver/health"
	"github.com/wheelhouse-k8s/wheelhouse/encryption"
)

// askTimeout bounds a question to another master.
const askTimeout = 5 * time.Second

// OfMaster is how one master is configured.
type OfMaster struct {
	Name string `json:"name"`
	// Managed tells that the masters keep the keys; else File is the operator's.
	Managed bool   `json:"managed"`
	File    string `json:"file,omitempty"`
	// Hash of the configuration in use; empty if nothing is encrypted.
	Hash string `json:"hash,omitempty"`
	// Same tells that it is the configuration of the master that was asked.
	Same  bool   `json:"same"`
	Error string `json:"error,omitempty"`
}

// Status is what wheelhouse encryption status shows.
type Status struct {
	Managed bool   `json:"managed"`
	File    string `json:"file,omitempty"`
	// Sections of the configuration, without its keys.
	Sections []encryption.Section `json:"sections"`
	// Resources that are encrypted, or cannot be read.
	Resources []encryption.Usage `json:"resources"`
	// RewriteNeeded: some objects are stored in another form than they would be written in now.
	RewriteNeeded bool `json:"rewriteNeeded"`
	// Unfinished says what a change of keys has left that was broken off.
	Unfinished string     `json:"unfinished,omitempty"`
	Work       *Work      `json:"work,omitempty"`
	Masters    []OfMaster `json:"masters"`
}

func (k *Keys) own(context.Context, struct{}) (OfMaster, error) {
	s := OfMaster{Name: k.Self, Managed: k.Managed, Same: true}
	if k.opened != nil {
		s.File, s.Hash = k.opened.File(), k.opened.Hash()
	}
	return s, nil
}

// others asks the other masters.
func (k *Keys) others(ctx context.Context) []OfMaster {
	var all []OfMaster
	for _, p := range k.Masters() {
		if p.Name == k.Self {
			continue
		}
		var s OfMaster
		if err := k.askOwn(ctx, p.URL, &s); err != nil {
			s.Error = err.Error()
		}
		s.Name, s.Same = p.Name, s.Error == "" && k.opened != nil && s.Hash == k.opened.Hash()
		all = append(all, s)
	}
	return all
}

func (k *Keys) askOwn(ctx context.Context, url string, out *OfMaster) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	client, err := k.Caller.To(url)
	if err != nil {
		return err
	}
	return client.Get(ctx, "encryption/own", out)
}

func (k *Keys) status(ctx context.Context, _ struct{}) (*Status, error) {
	own, _ := k.own(ctx, struct{}{})
	s := &Status{
		Managed: own.Managed, File: own.File, Work: k.works.get(), Masters: append(k.others(ctx), own),
		Sections: []encryption.Section{}, Resources: []encryption.Usage{},
	}
	away, err := k.Absent(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range away {
		s.Masters = append(s.Masters, OfMaster{Name: name, Error: "it does not serve"})
	}
	slices.SortFunc(s.Masters, func(a, b OfMaster) int { return strings.Compare(a.Name, b.Name) })
	if k.opened == nil {
		return s, nil
	}
	s.Sections = k.opened.Sections()
	var sealed []schema.GroupResource
	for gr := range k.Sealed() {
		sealed = append(sealed, gr)
	}
	resources, err := k.opened.Survey(ctx, sealed...)
	if err != nil {
		return nil, err
	}
	s.Resources = append(s.Resources, resources...)
	for _, r := range s.Resources {
		s.RewriteNeeded = s.RewriteNeeded || r.Stale > 0
	}
	if own.Managed {
		managed, err := encryption.ReadManaged(own.File)
		if err != nil {
			return nil, err
		}
		s.Unfinished = managed.Unfinished()
	}
	return s, nil
}

// InShort says who keeps the keys.
func (k *Keys) InShort() string {
	switch {
	case k.opened == nil:
		return "none"
	case k.Managed:
		return "managed by the masters"
	}
	return "as " + k.File + " says"
}

// Checks are the health checks of the plugins that hold keys.
func (k *Keys) Checks() []health.Check {
	if k.opened == nil || k.Managed {
		return nil
	}
	var checks []health.Check
	for _, c := range k.opened.Checks() {
		checks = append(checks, health.Check(c))
	}
	return checks
}

// publishKeys brings this master's keys to all masters. A master that is away while keys change would go on writing with a
// former one when it is back, and nobody could read that; so all have to be there, before and after.
func (k *Keys) publishKeys(ctx context.Context) error {
	if err := k.allServe(ctx); err != nil {
		return err
	}
	if err := k.Publish(ctx); err != nil {
		return err
	}
	for _, s := range k.others(ctx) {
		if !s.Same {
			return fmt.Errorf("master %s does not use the keys yet: %s", s.Name, cmp.Or(s.Error, "it has others"))
		}
	}
	return k.allServe(ctx)
}

// allServe refuses a change of keys while a master is away.
func (k *Keys) allServe(ctx context.Context) error {
	away, err := k.Absent(ctx)
	if err != nil || len(away) == 0 {
		return err
	}
	return admin.Refused(fmt.Sprintf("master %s does not serve, and all must be there when keys change: bring it back, or remove it with wheelhouse member remove %[1]s", away[0]))
}
