package master

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver/health"
	"github.com/wheelhouse-k8s/wheelhouse/control"
	"github.com/wheelhouse-k8s/wheelhouse/encryption"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
)

// encryptionPatience bounds a question to another master.
const encryptionPatience = 5 * time.Second

// EncryptionOfMaster is how one master is configured.
type EncryptionOfMaster struct {
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

// EncryptionStatus is what wheelhouse encryption status shows.
type EncryptionStatus struct {
	Managed bool   `json:"managed"`
	File    string `json:"file,omitempty"`
	// Sections of the configuration, without its keys.
	Sections []encryption.Section `json:"sections"`
	// Resources that are encrypted, or cannot be read.
	Resources []encryption.Usage `json:"resources"`
	// RewriteNeeded: some objects are stored in another form than they would be written in now.
	RewriteNeeded bool `json:"rewriteNeeded"`
	// Unfinished says what a change of keys has left that was broken off.
	Unfinished string               `json:"unfinished,omitempty"`
	Work       *KeyWork             `json:"work,omitempty"`
	Masters    []EncryptionOfMaster `json:"masters"`
}

func (m *Master) ownEncryption(context.Context, struct{}) (EncryptionOfMaster, error) {
	s := EncryptionOfMaster{Name: m.identity, Managed: m.config.managesKeys(), Same: true}
	if m.encryption != nil {
		s.File, s.Hash = m.encryption.File(), m.encryption.Hash()
	}
	return s, nil
}

// encryptionOfOthers asks the other masters.
func (m *Master) encryptionOfOthers(ctx context.Context) []EncryptionOfMaster {
	var all []EncryptionOfMaster
	for _, p := range m.roll.Masters() {
		if p.Name == m.identity {
			continue
		}
		var s EncryptionOfMaster
		if err := m.askEncryption(ctx, p.URL, &s); err != nil {
			s.Error = err.Error()
		}
		s.Name, s.Same = p.Name, s.Error == "" && m.encryption != nil && s.Hash == m.encryption.Hash()
		all = append(all, s)
	}
	return all
}

func (m *Master) askEncryption(ctx context.Context, url string, out *EncryptionOfMaster) error {
	ctx, cancel := context.WithTimeout(ctx, encryptionPatience)
	defer cancel()
	client, err := m.caller().To(url)
	if err != nil {
		return err
	}
	return client.Get(ctx, "encryption/own", out)
}

func (m *Master) encryptionStatus(ctx context.Context, _ struct{}) (*EncryptionStatus, error) {
	own, _ := m.ownEncryption(ctx, struct{}{})
	s := &EncryptionStatus{
		Managed: own.Managed, File: own.File, Work: m.keyWork.get(), Masters: append(m.encryptionOfOthers(ctx), own),
		Sections: []encryption.Section{}, Resources: []encryption.Usage{},
	}
	away, err := m.awayMasters(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range away {
		s.Masters = append(s.Masters, EncryptionOfMaster{Name: name, Error: "it does not serve"})
	}
	slices.SortFunc(s.Masters, func(a, b EncryptionOfMaster) int { return strings.Compare(a.Name, b.Name) })
	if m.encryption == nil {
		return s, nil
	}
	s.Sections = m.encryption.Sections()
	var sealed []schema.GroupResource
	for gr := range m.registry.Sealed() {
		sealed = append(sealed, gr)
	}
	resources, err := m.encryption.Survey(ctx, sealed...)
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

// encryptionInShort says what is encrypted in a few words.
func (m *Master) encryptionInShort() string {
	if m.encryption == nil {
		return "none"
	}
	var all []string
	for _, s := range m.encryption.Sections() {
		if len(s.Forms) > 0 {
			all = append(all, strings.Join(s.Resources, ", ")+" as "+s.Forms[0].String())
		}
	}
	return strings.Join(all, "; ")
}

// encryptionChecks are the health checks of the plugins that hold keys.
func (m *Master) encryptionChecks() []health.Check {
	if m.encryption == nil || m.config.managesKeys() {
		return nil
	}
	var checks []health.Check
	for _, c := range m.encryption.Checks() {
		checks = append(checks, health.Check(c))
	}
	return checks
}

// publishKeys brings this master's keys to all masters. A master that is away while keys change would go on writing with a
// former one when it is back, and nobody could read that; so all have to be there, before and after.
func (m *Master) publishKeys(ctx context.Context) error {
	if err := m.allServe(ctx); err != nil {
		return err
	}
	if err := m.publish.Publish(ctx); err != nil {
		return err
	}
	for _, s := range m.encryptionOfOthers(ctx) {
		if !s.Same {
			return fmt.Errorf("master %s does not use the keys yet: %s", s.Name, cmp.Or(s.Error, "it has others"))
		}
	}
	return m.allServe(ctx)
}

// awayMasters are the members of the cluster that do not serve and are not on the roll of those that live. With a stand-alone
// etcd only those are known that live.
func (m *Master) awayMasters(ctx context.Context) ([]string, error) {
	state, err := m.group.State(ctx)
	if err != nil {
		return nil, err
	}
	var away []string
	for _, member := range state.Members {
		if !member.Serving && member.ID != state.Self {
			away = append(away, cmp.Or(member.Name, membership.FormatID(member.ID)))
		}
	}
	return away, nil
}

// allServe fails if a member of the cluster does not serve. With a stand-alone etcd only those are known that do.
func (m *Master) allServe(ctx context.Context) error {
	state, err := m.group.State(ctx)
	if err != nil {
		return err
	}
	for _, member := range state.Members {
		if !member.Serving {
			return control.Refused(fmt.Sprintf("master %s does not serve, and all must be there when keys change: bring it back, or remove it with wheelhouse member remove %s",
				member.Name, member.Name))
		}
	}
	return nil
}
