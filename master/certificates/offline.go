package certificates

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/pki"
)

// RenewOffline issues certificates anew in the folder of a master that does not run, all without names, and gives all that
// are there. An empty pkiDir means pki in the data folder.
func RenewOffline(dataDir, pkiDir string, names []string) ([]pki.Description, error) {
	if pkiDir == "" {
		pkiDir = filepath.Join(dataDir, "pki")
	}
	if _, err := os.Stat(filepath.Join(pkiDir, "ca.crt")); err != nil {
		return nil, fmt.Errorf("%s is not the authority of a master: %w", pkiDir, err)
	}
	file, err := datafolder.Lock(dataDir, func(string, ...any) {})
	if err != nil {
		return nil, err
	}
	defer file.Close()
	_, external := os.Stat(filepath.Join(dataDir, datafolder.ExternalFile))
	// Names and addresses that the certificates have are kept. With an external etcd there is no authority of the masters' own, and none is made.
	a, err := pki.Ensure(pkiDir, pki.Options{NoEtcd: external == nil})
	if err != nil {
		return nil, err
	}
	kubeconfig := datafolder.Kubeconfig(dataDir)
	if err := renew(a, names, func() error { return renewKubeconfig(a, kubeconfig) }); err != nil {
		return nil, err
	}
	all := a.List()
	d, err := pki.DescribeKubeconfig(datafolder.KubeconfigFile, kubeconfig)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	return append(all, d), err
}

// renewKubeconfig issues the administrator's certificate anew for the server that the file names, if there is one.
func renewKubeconfig(a *pki.Authority, path string) error {
	config, err := clientcmd.LoadFromFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s cannot be renewed: %w", path, err)
	}
	context := config.Contexts[config.CurrentContext]
	if context == nil || config.Clusters[context.Cluster] == nil {
		return fmt.Errorf("%s cannot be renewed: it names no server; remove it to have it made at the next start", path)
	}
	admin, err := a.Admin()
	if err != nil {
		return err
	}
	return pki.WriteKubeconfig(path, config.Clusters[context.Cluster].Server, a.CA().CertPEM, admin)
}
