package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/pflag"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/datafolder"
	"github.com/wheelhouse-k8s/wheelhouse/master"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
)

// adminFlags say which master a command speaks to.
type adminFlags struct{ kubeconfig, server string }

func (f *adminFlags) add(s *pflag.FlagSet) {
	s.StringVar(&f.kubeconfig, "kubeconfig", "", "Administrator's kubeconfig (default: $KUBECONFIG, else that of the default data folder).")
	s.StringVar(&f.server, "server", "", "URL of the master to speak to (default: the kubeconfig's), or unix:///DATA-FOLDER/control.sock: the master's own commands, without a kubeconfig, for root or the user that it runs as.")
}

// file is the kubeconfig that is used.
func (f *adminFlags) file() string {
	file := f.kubeconfig
	if file == "" {
		file = os.Getenv(clientcmd.RecommendedConfigPathEnvVar)
	}
	if file == "" {
		file = datafolder.Kubeconfig(master.DefaultDataDir())
	}
	return file
}

// config of a client of the master.
func (f *adminFlags) config() (*rest.Config, error) {
	if strings.HasPrefix(f.server, "unix://") {
		return nil, usageError{fmt.Errorf("--server %s: this command speaks to the API, which needs a kubeconfig and an https URL", f.server)}
	}
	config, err := clientcmd.BuildConfigFromFlags(f.server, f.file())
	if err != nil {
		return nil, fmt.Errorf("no usable kubeconfig: %w: give the administrator's with --kubeconfig", err)
	}
	return config, nil
}

// client of the master's commands.
func (f *adminFlags) client() (*admin.Client, error) {
	if path, ok := strings.CutPrefix(f.server, "unix://"); ok {
		return localClient(path)
	}
	config, err := f.config()
	if err != nil {
		return nil, err
	}
	c, err := admin.NewClient(config)
	if err != nil {
		return nil, err
	}
	return introduced(c, f.file(), config.Host), nil
}

// introduced has the client show to which store the data folder belongs whose kubeconfig it uses, and warns if the master that
// answers belongs to another.
func introduced(c *admin.Client, kubeconfig, server string) *admin.Client {
	own := datafolder.CardOf(filepath.Dir(kubeconfig))
	if own == nil {
		return c
	}
	var once sync.Once
	return c.Introduce(membership.CardHeader, own.Encode(), func(shown string) {
		other := membership.ReadCard(shown)
		if other == nil || own.Toward(other) <= membership.Same {
			return
		}
		once.Do(func() {
			fmt.Fprintf(os.Stderr, "wheelhouse: warning: %s belongs to %s, and %s lies beside the data of %s\n", server, other.Describe(), kubeconfig, own.Describe())
		})
	})
}

// localClient speaks to a master on this machine by its socket.
func localClient(path string) (*admin.Client, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("no master serves its commands there: %w", err)
	}
	return admin.NewClient(&rest.Config{Host: "http://localhost", Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		address, release, err := admin.SocketAddress(path)
		if err != nil {
			return nil, err
		}
		defer release()
		return (&net.Dialer{}).DialContext(ctx, "unix", address)
	}})
}

// api is a client of the master's API.
func (f *adminFlags) api() (*kubernetes.Clientset, error) {
	config, err := f.config()
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}
