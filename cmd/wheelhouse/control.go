package main

import (
	"fmt"
	"os"

	"github.com/spf13/pflag"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/wheelhouse-k8s/wheelhouse/control"
	"github.com/wheelhouse-k8s/wheelhouse/master"
)

// controlFlags say which master a command speaks to.
type controlFlags struct{ kubeconfig, server string }

func (f *controlFlags) add(s *pflag.FlagSet) {
	s.StringVar(&f.kubeconfig, "kubeconfig", "", "Administrator's kubeconfig (default: $KUBECONFIG, else that of the default data folder).")
	s.StringVar(&f.server, "server", "", "URL of the master to speak to (default: the kubeconfig's).")
}

// config of a client of the master.
func (f *controlFlags) config() (*rest.Config, error) {
	file := f.kubeconfig
	if file == "" {
		file = os.Getenv(clientcmd.RecommendedConfigPathEnvVar)
	}
	if file == "" {
		file = master.DefaultKubeconfig(master.DefaultDataDir())
	}
	config, err := clientcmd.BuildConfigFromFlags(f.server, file)
	if err != nil {
		return nil, fmt.Errorf("no usable kubeconfig: %w: give the administrator's with --kubeconfig", err)
	}
	return config, nil
}

// client of the master's commands.
func (f *controlFlags) client() (*control.Client, error) {
	config, err := f.config()
	if err != nil {
		return nil, err
	}
	return control.NewClient(config)
}

// api is a client of the master's API.
func (f *controlFlags) api() (*kubernetes.Clientset, error) {
	config, err := f.config()
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}
