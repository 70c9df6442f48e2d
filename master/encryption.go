package master

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/wheelhouse-k8s/wheelhouse/control"
	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/encryption"
)

// managesKeys tells whether the masters keep the encryption keys by themselves.
func (c *Config) managesKeys() bool { return c.EncryptionConfig == "" && c.DataDir != "" }

// checkEncryption finds flags that do not go together.
func (c *Config) checkEncryption() error {
	if c.EncryptionReload && c.EncryptionConfig == "" {
		return errors.New("--encryption-provider-config-automatic-reload needs --encryption-provider-config")
	}
	return nil
}

// encrypt puts encryption around the opened store: as the operator's configuration says, or as the managed one that is made
// at the first start. A master in memory that was given none has none. end ends the connections to plugins.
func (m *Master) encrypt(ctx context.Context) (end func(), err error) {
	c := &m.config
	file := c.EncryptionConfig
	if c.managesKeys() {
		file = filepath.Join(c.DataDir, datafolder.EncryptionFile)
		made := false
		err := m.patiently(ctx, "the record of the encryption keys", func(ctx context.Context) error {
			done, err := encryption.Ensure(ctx, m.store, file)
			made = made || done
			return err
		})
		if err != nil {
			return nil, err
		}
		if made {
			c.Log("secrets are encrypted in the store; back up the key in %s, apart from the store", file)
		}
	}
	if file == "" {
		return func() {}, nil
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	m.encryption, err = encryption.New(life, encryption.Options{
		Store: m.store, Kinds: kinds(), EventTTL: c.EventTTL, File: file, Reload: c.EncryptionReload || c.managesKeys(), ID: m.identity,
		RealKey: m.realKey(),
		Changed: func() { m.registry.Unseal() },
	})
	if err != nil {
		end()
		return nil, err
	}
	m.store = m.encryption
	return end, nil
}

// realKey maps keys to those in an etcd that is shared with others, nil if they are the same.
func (m *Master) realKey() func(string) string {
	if s, ok := m.store.(interface{ RealKey(string) string }); ok {
		return s.RealKey
	}
	return nil
}

// prepare makes the objects that every cluster has. What the present keys do not let it make, because a plugin that holds
// them starts later, is made when they do: other requests can be served.
func (m *Master) prepare(ctx context.Context) error {
	err := m.bootstrap(ctx)
	if err == nil || ctx.Err() != nil || m.encryption == nil || !m.encryption.Failed() {
		return err
	}
	m.config.warn("%v; trying again in the background", err)
	m.unprepared = true
	return m.authorizer.Sync(ctx)
}

// prepareEvery is how often objects are tried again that could not be made.
const prepareEvery = 2 * time.Second

func (m *Master) prepareAgain(ctx context.Context) {
	for m.unprepared {
		select {
		case <-ctx.Done():
			return
		case <-time.After(prepareEvery):
			m.unprepared = m.bootstrap(ctx) != nil
		}
	}
}

// tendEncryption follows the operator's file, or rewrites what was stored before there was a managed key, until ctx ends.
func (m *Master) tendEncryption(ctx context.Context) {
	c := &m.config
	var preparing sync.WaitGroup
	preparing.Go(func() { m.prepareAgain(ctx) })
	defer preparing.Wait()
	switch {
	case m.encryption == nil:
	case c.EncryptionReload:
		m.encryption.Follow(ctx, encryption.FollowEvery, func(err error) { c.warn("%v; the former configuration stays in force", err) })
	case c.managesKeys() && m.encryption.StaleSeen():
		if managed, err := encryption.ReadManaged(m.encryption.File()); err != nil || managed.Unfinished() != "" {
			break // the command that began a change goes on with it
		}
		c.Log("secrets in a former form are encrypted anew, in the background")
		if err := m.keyWork.start(ctx, "rewrite", m.rewriteAll); err == nil {
			m.keyWork.wait()
		}
	}
	<-ctx.Done()
	m.keyWork.wait()
}

// keyWork is the one change of keys, or rewrite, that runs on a master.
type keyWork struct {
	mu      sync.Mutex
	last    *KeyWork // guarded by mu
	running sync.WaitGroup
}

// KeyWork tells of a change of keys or a rewrite.
type KeyWork struct {
	Name     string              `json:"name"`
	Step     string              `json:"step,omitempty"`
	Progress encryption.Progress `json:"progress"`
	// Rewritten is how many objects it has written anew in all.
	Rewritten int        `json:"rewritten"`
	Started   time.Time  `json:"started"`
	Ended     *time.Time `json:"ended,omitempty"`
	// Error is why it ended early.
	Error string `json:"error,omitempty"`
}

// get is the work that runs or ran last, nil if there was none.
func (k *keyWork) get() *KeyWork {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last == nil {
		return nil
	}
	copied := *k.last
	return &copied
}

func (k *keyWork) wait() { k.running.Wait() }

// start runs a work unless one runs.
func (k *keyWork) start(ctx context.Context, name string, run func(context.Context) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last != nil && k.last.Ended == nil {
		return control.Refused(fmt.Sprintf("this master is at work on %q already, since %s", k.last.Name, k.last.Started.Format(time.TimeOnly)))
	}
	work := &KeyWork{Name: name, Started: time.Now()}
	k.last = work
	k.running.Go(func() {
		err := run(ctx)
		k.mu.Lock()
		defer k.mu.Unlock()
		now := time.Now()
		work.Ended = &now
		if err != nil {
			work.Error = err.Error()
		}
	})
	return nil
}

func (k *keyWork) report(step string, p encryption.Progress) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last.Step, k.last.Progress, k.last.Rewritten = step, p, max(k.last.Rewritten, p.Rewritten)
}

func (m *Master) rewriteAll(ctx context.Context) error {
	const step = "rewrite what is in a former form"
	err := m.encryption.Rewrite(ctx, func(p encryption.Progress) { m.keyWork.report(step, p) })
	if err != nil && ctx.Err() == nil {
		m.config.Log("%s: %v", step, err)
	}
	return err
}

// keys changes the managed configuration of all masters.
func (m *Master) keys() *encryption.Keys {
	return &encryption.Keys{
		Store: m.encryption, Publish: m.publishKeys,
		Report: func(step string, p encryption.Progress) {
			if m.keyWork.get().Step != step {
				m.config.Log("encryption: %s", step)
			}
			m.keyWork.report(step, p)
		},
	}
}

// encryptionCommands are how operators look at encryption and change keys.
func (m *Master) encryptionCommands() []control.Command {
	return []control.Command{
		{Method: http.MethodGet, Path: "encryption", Handler: control.Handle(m.encryptionStatus)},
		{Method: http.MethodGet, Path: "encryption/own", Handler: control.Handle(m.ownEncryption)},
		{Method: http.MethodGet, Path: "encryption/work", Handler: control.Handle(m.tellKeyWork)},
		{Method: http.MethodPost, Path: "encryption/rotate", Handler: control.Handle(m.rotateKeys)},
		{Method: http.MethodPost, Path: "encryption/decrypt", Handler: control.Handle(m.decryptAll)},
		{Method: http.MethodPost, Path: "encryption/rewrite", Handler: control.Handle(m.startRewrite)},
	}
}

var errNoEncryption = control.Refused("this master keeps everything in memory, and encrypts nothing")

// byHand says how keys are changed that the operator manages.
func (m *Master) byHand(steps string) error {
	return control.Refused(fmt.Sprintf("the keys in %s are yours (--encryption-provider-config). To change them by hand: %s", m.config.EncryptionConfig, steps))
}

func (m *Master) tellKeyWork(context.Context, struct{}) (*KeyWork, error) {
	return m.keyWork.get(), nil
}

func (m *Master) startKeyWork(name string, run func(context.Context) error) (*KeyWork, error) {
	if err := m.keyWork.start(m.working, name, run); err != nil {
		return nil, err
	}
	return m.keyWork.get(), nil
}

func (m *Master) rotateKeys(ctx context.Context, _ struct{}) (*KeyWork, error) {
	if err := m.mayChangeKeys(ctx, "add the new key as the second of its provider, in the file of every master; wait until every master has it "+
		"(wheelhouse encryption status); make it the first everywhere; wait again; run wheelhouse encryption rewrite; drop the old key everywhere"); err != nil {
		return nil, err
	}
	return m.startKeyWork("rotate-key", func(ctx context.Context) error { return m.keys().Rotate(ctx) })
}

// decryptRequest is what a client sends who wants secrets in plain.
type decryptRequest struct {
	// Confirmed must be set.
	Confirmed bool `json:"confirmed"`
}

func (m *Master) decryptAll(ctx context.Context, in decryptRequest) (*KeyWork, error) {
	if !in.Confirmed {
		return nil, control.Refused("this stores all secrets in plain, readable by whoever has the database or a backup of it, and drops the keys: confirm it with --yes-store-secrets-in-plain")
	}
	if err := m.mayChangeKeys(ctx, "make identity the first provider, in the file of every master; wait until every master has it "+
		"(wheelhouse encryption status); run wheelhouse encryption rewrite; drop the other providers everywhere"); err != nil {
		return nil, err
	}
	return m.startKeyWork("decrypt", func(ctx context.Context) error { return m.keys().Decrypt(ctx) })
}

// mayChangeKeys refuses what could not be finished.
func (m *Master) mayChangeKeys(ctx context.Context, steps string) error {
	switch {
	case m.encryption == nil:
		return errNoEncryption
	case !m.config.managesKeys():
		return m.byHand(steps)
	}
	if err := m.allServe(ctx); err != nil {
		return err
	}
	for _, s := range m.encryptionOfOthers(ctx) {
		if s.Error != "" {
			return control.Refused(fmt.Sprintf("master %s cannot be reached (%s), and could not read what is encrypted with a new key: bring it back, or remove it with wheelhouse member remove", s.Name, s.Error))
		}
		if !s.Managed {
			return control.Refused(fmt.Sprintf("master %s was given --encryption-provider-config: all masters must use the same configuration", s.Name))
		}
	}
	return nil
}

func (m *Master) startRewrite(context.Context, struct{}) (*KeyWork, error) {
	if m.encryption == nil {
		return nil, errNoEncryption
	}
	return m.startKeyWork("rewrite", m.rewriteAll)
}
