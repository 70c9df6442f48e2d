package certificates

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/wheelhouse-k8s/wheelhouse/apiserver/health"
	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/encryption"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
	"github.com/wheelhouse-k8s/wheelhouse/store/etcd"
)

// Fetch is how a master that does not run gets the authority and keys which its cluster has replaced meanwhile.
type Fetch struct {
	DataDir, PKIDir string
	// Servers of the cluster, the Token and the authority's Hashes, as a newcomer gets them.
	Servers []string
	Token   string
	Hashes  []string
	Log     func(format string, args ...any)
}

// Run asks the cluster, which must know this master as its member, and puts the files into place.
func (f *Fetch) Run(ctx context.Context) error {
	if err := f.check(); err != nil {
		return err
	}
	file, err := datafolder.Lock(f.DataDir, f.Log)
	if err != nil {
		return err
	}
	defer file.Close()
	token, err := membership.ParseToken(f.Token)
	if err != nil {
		return fmt.Errorf("--token: %w", err)
	}
	request, err := f.request()
	if err != nil {
		return err
	}
	joiner := &membership.Joiner{Path: membership.FilesPath, Servers: f.Servers, Token: token, Hashes: f.Hashes, Request: request,
		KeyFile: filepath.Join(f.DataDir, membership.KeyName), Log: f.Log}
	grant, err := joiner.Join(ctx)
	if err != nil {
		return fmt.Errorf("nothing was fetched: %w", err)
	}
	if err := f.install(grant.Files, request.External); err != nil {
		return err
	}
	if err := os.Remove(joiner.KeyFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the data folder cannot be written: %w", err)
	}
	f.Log("took over the authority and keys of the cluster from %s: start this master as before", grant.Server)
	return nil
}

func (f *Fetch) check() error {
	if f.PKIDir == "" {
		f.PKIDir = filepath.Join(f.DataDir, "pki")
	}
	if len(f.Servers) == 0 || f.Token == "" || len(f.Hashes) == 0 {
		return errors.New("--join, --token and --discovery-token-ca-cert-hash are needed: the line that wheelhouse token create prints has them")
	}
	if err := membership.CheckServers(f.Servers); err != nil {
		return err
	}
	if err := membership.CheckHashes(f.Hashes); err != nil {
		return fmt.Errorf("--discovery-token-ca-cert-hash: %w", err)
	}
	if _, err := os.Stat(filepath.Join(f.PKIDir, "ca.crt")); err != nil {
		return fmt.Errorf("%s is not the authority of a master: %w", f.PKIDir, err)
	}
	return nil
}

// request says who this master is.
func (f *Fetch) request() (membership.Request, error) {
	r := membership.Request{Version: health.Version().GitVersion}
	data, err := os.ReadFile(filepath.Join(f.DataDir, "identity"))
	if err != nil {
		return r, fmt.Errorf("%s is not the data folder of a master: %w", f.DataDir, err)
	}
	r.Name = string(bytes.TrimSpace(data))
	if _, err := os.Stat(filepath.Join(f.DataDir, datafolder.ExternalFile)); err == nil {
		r.External = true
		return r, nil
	}
	members, err := etcd.ReadMembers(filepath.Join(f.DataDir, "etcd"))
	if err != nil {
		return r, err
	}
	n := slices.IndexFunc(members, func(m etcd.Member) bool { return m.Name == r.Name })
	if n < 0 {
		return r, fmt.Errorf("%s does not hold the data of the master %s: join the cluster with an empty folder instead", f.DataDir, r.Name)
	}
	r.Member, r.PeerURL = membership.FormatID(members[n].ID), members[n].PeerURL
	return r, nil
}

// install puts the files into place, and issues this master's own certificates anew.
func (f *Fetch) install(files map[string][]byte, external bool) error {
	a, err := pki.Ensure(f.PKIDir, pki.Options{NoEtcd: external}) // names and addresses that the certificates have are kept
	if err != nil {
		return err
	}
	if err := (Shared{Authority: a}).Install(files); err != nil {
		return err
	}
	if keys, ok := files[datafolder.EncryptionFile]; ok {
		own := filepath.Join(f.DataDir, datafolder.EncryptionFile)
		have, err := os.ReadFile(own)
		if err == nil && !bytes.Equal(have, keys) { // without the file the keys are the operator's
			err = encryption.WriteFile(own, keys)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return renewKubeconfig(a, datafolder.Kubeconfig(f.DataDir))
}
