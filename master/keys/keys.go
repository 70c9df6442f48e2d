// Package keys has a master encrypt what it stores: with the operator's configuration, or with keys that the masters make and replace by
// themselves. See DESIGN.md.
package keys

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
	"github.com/wheelhouse-k8s/wheelhouse/encryption"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/store"
)

// Options say how a master encrypts.
type Options struct {
	// File is the operator's configuration, or the managed one in the data folder; empty encrypts nothing.
	File string
	// Managed tells that the masters keep the keys by themselves, Reload that changes of the operator's file are taken without a restart.
	Managed, Reload bool
	// Self is the master's name.
	Self      string
	Kinds     []*kind.Kind
	EventTTL  time.Duration
	Log, Warn func(format string, args ...any)
}

// Needs are what a master's keys need of the rest of it.
type Needs struct {
	// Masters are those that live, and Absent the names of those that belong to the cluster and are away.
	Masters func() []membership.Master
	Absent  func(ctx context.Context) ([]string, error)
	Caller  *admin.Caller
	// Publish brings this master's keys to all others.
	Publish func(ctx context.Context) error
	// Sealed are the resources with objects that the present keys do not open.
	Sealed func() map[schema.GroupResource]int
}

// Keys are those of one master. Open puts them to use, Connect comes before Commands and Tend.
type Keys struct {
	Options
	Needs
	opened *encryption.Store // nil if nothing is encrypted
	works  works
	within context.Context // of works; it ends when the master begins to stop
}

// New prepares keys; nothing is read or made.
func New(o Options) *Keys { return &Keys{Options: o} }

// Ensure makes the managed configuration at the first start.
func (k *Keys) Ensure(ctx context.Context, s store.Store) error {
	if !k.Managed {
		return nil
	}
	made, err := encryption.Ensure(ctx, s, k.File)
	if made {
		k.Log("secrets are encrypted in the store; back up the key in %s, apart from the store", k.File)
	}
	return err
}

// Open puts encryption around the opened store. unseal is called when there are other keys. end ends the connections to plugins.
func (k *Keys) Open(ctx context.Context, s store.Store, unseal func()) (around store.Store, end func(), err error) {
	if k.File == "" {
		return s, func() {}, nil
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	o := encryption.Options{
		Store: s, Kinds: k.Kinds, EventTTL: k.EventTTL, File: k.File, Reload: k.Reload || k.Managed, ID: k.Self, Changed: unseal,
	}
	if named, ok := s.(interface{ RealKey(string) string }); ok {
		o.RealKey = named.RealKey
	}
	if k.opened, err = encryption.New(life, o); err != nil {
		end()
		return nil, nil, err
	}
	return k.opened, end, nil
}

// Connect gives the keys what they need of the rest of the master.
func (k *Keys) Connect(n Needs) { k.Needs = n }

// Within has changes of keys and rewrites end with ctx.
func (k *Keys) Within(ctx context.Context) { k.within = ctx }

// Failed tells that something could not be encrypted or read with the present keys, as with a plugin that starts later.
func (k *Keys) Failed() bool { return k.opened != nil && k.opened.Failed() }

// Tend follows the operator's file, or rewrites what was stored before there was a managed key, until ctx ends.
func (k *Keys) Tend(ctx context.Context) {
	switch {
	case k.opened == nil:
	case k.Reload:
		k.opened.Follow(ctx, encryption.FollowEvery, func(err error) { k.Warn("%v; the former configuration stays in force", err) })
	case k.Managed && k.opened.StaleSeen():
		if managed, err := encryption.ReadManaged(k.File); err != nil || managed.Unfinished() != "" {
			break // the command that began a change goes on with it
		}
		k.Log("secrets in a former form are encrypted anew, in the background")
		if err := k.works.start(ctx, "rewrite", k.rewriteAll); err == nil {
			k.works.wait()
		}
	}
	<-ctx.Done()
	k.works.wait()
}

func (k *Keys) rewriteAll(ctx context.Context) error {
	const step = "rewrite what is in a former form"
	err := k.opened.Rewrite(ctx, func(p encryption.Progress) { k.works.report(step, p) })
	if err != nil && ctx.Err() == nil {
		k.Log("%s: %v", step, err)
	}
	return err
}

// change changes the managed configuration of all masters.
func (k *Keys) change() *encryption.Keys {
	return &encryption.Keys{
		Store: k.opened, Publish: k.publishKeys,
		Report: func(step string, p encryption.Progress) {
			if k.works.get().Step != step {
				k.Log("encryption: %s", step)
			}
			k.works.report(step, p)
		},
	}
}

// Commands are how operators look at encryption and change keys.
func (k *Keys) Commands() []admin.Command {
	return []admin.Command{
		{Method: http.MethodGet, Path: "encryption", Handler: admin.Handle(k.status)},
		{Method: http.MethodGet, Path: "encryption/own", Handler: admin.Handle(k.own)},
		{Method: http.MethodGet, Path: "encryption/work", Handler: admin.Handle(k.tellWork)},
		{Method: http.MethodPost, Path: "encryption/rotate", Handler: admin.Handle(k.rotateKeys)},
		{Method: http.MethodPost, Path: "encryption/decrypt", Handler: admin.Handle(k.decryptAll)},
		{Method: http.MethodPost, Path: "encryption/rewrite", Handler: admin.Handle(k.startRewrite)},
	}
}

var errNoEncryption = admin.Refused("this master keeps everything in memory, and encrypts nothing")

// byHand says how keys are changed that the operator manages.
func (k *Keys) byHand(steps string) error {
	return admin.Refused(fmt.Sprintf("the keys in %s are yours (--encryption-provider-config). To change them by hand: %s", k.File, steps))
}

func (k *Keys) tellWork(context.Context, struct{}) (*Work, error) {
	return k.works.get(), nil
}

func (k *Keys) startWork(name string, run func(context.Context) error) (*Work, error) {
	if err := k.works.start(k.within, name, run); err != nil {
		return nil, err
	}
	return k.works.get(), nil
}

func (k *Keys) rotateKeys(ctx context.Context, _ struct{}) (*Work, error) {
	if err := k.mayChangeKeys(ctx, "add the new key as the second of its provider, in the file of every master; wait until every master has it "+
		"(wheelhouse encryption status); make it the first everywhere; wait again; run wheelhouse encryption rewrite; drop the old key everywhere"); err != nil {
		return nil, err
	}
	return k.startWork("rotate-key", func(ctx context.Context) error { return k.change().Rotate(ctx) })
}

// decryptRequest is what a client sends who wants secrets in plain.
type decryptRequest struct {
	// Confirmed must be set.
	Confirmed bool `json:"confirmed"`
}

func (k *Keys) decryptAll(ctx context.Context, in decryptRequest) (*Work, error) {
	if !in.Confirmed {
		return nil, admin.Refused("this stores all secrets in plain, readable by whoever has the database or a backup of it, and drops the keys: confirm it with --yes-store-secrets-in-plain")
	}
	if err := k.mayChangeKeys(ctx, "make identity the first provider, in the file of every master; wait until every master has it "+
		"(wheelhouse encryption status); run wheelhouse encryption rewrite; drop the other providers everywhere"); err != nil {
		return nil, err
	}
	return k.startWork("decrypt", func(ctx context.Context) error { return k.change().Decrypt(ctx) })
}

// mayChangeKeys refuses what could not be finished.
func (k *Keys) mayChangeKeys(ctx context.Context, steps string) error {
	switch {
	case k.opened == nil:
		return errNoEncryption
	case !k.Managed:
		return k.byHand(steps)
	}
	if err := k.allServe(ctx); err != nil {
		return err
	}
	for _, s := range k.others(ctx) {
		if s.Error != "" {
			return admin.Refused(fmt.Sprintf("master %s cannot be reached (%s), and could not read what is encrypted with a new key: bring it back, or remove it with wheelhouse member remove", s.Name, s.Error))
		}
		if !s.Managed {
			return admin.Refused(fmt.Sprintf("master %s was given --encryption-provider-config: all masters must use the same configuration", s.Name))
		}
	}
	return nil
}

func (k *Keys) startRewrite(context.Context, struct{}) (*Work, error) {
	if k.opened == nil {
		return nil, errNoEncryption
	}
	return k.startWork("rewrite", k.rewriteAll)
}
