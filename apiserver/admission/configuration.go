package admission

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"
	"sigs.k8s.io/yaml"
)

// passiveClock is what limits of rates need.
type passiveClock = clock.PassiveClock

// Configuration says how plugins are set up: the content of --admission-control-config-file.
type Configuration struct{ plugins map[string][]byte }

// configured are the plugins that read a configuration.
var configured = []string{"EventRateLimit", "ImagePolicyWebhook", "PodNodeSelector", "PodSecurity", "PodTolerationRestriction"}

// configurationVersions of AdmissionConfiguration, which is the same in all of them.
var configurationVersions = []schema.GroupVersion{
	{Group: "apiserver.config.k8s.io", Version: "v1"}, {Group: "apiserver.k8s.io", Version: "v1alpha1"},
}

// ReadConfiguration reads an AdmissionConfiguration; an empty path gives none. Paths in it are relative to its folder.
func ReadConfiguration(path string) (*Configuration, error) {
	if path == "" {
		return nil, nil
	}
	c, err := readConfiguration(path)
	if err != nil {
		return nil, fmt.Errorf("--admission-control-config-file %s: %w", path, err)
	}
	return c, nil
}

func readConfiguration(path string) (*Configuration, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Plugins    []struct {
			Name          string `json:"name"`
			Path          string `json:"path"`
			Configuration any    `json:"configuration"`
		} `json:"plugins"`
	}
	if err := yaml.UnmarshalStrict(b, &file); err != nil {
		return nil, err
	}
	gv, err := schema.ParseGroupVersion(file.APIVersion)
	if err != nil || file.Kind != "AdmissionConfiguration" || !slices.Contains(configurationVersions, gv) {
		return nil, fmt.Errorf("it must be an AdmissionConfiguration of %s, not a %s of %s", configurationVersions[0], file.Kind, file.APIVersion)
	}
	c := &Configuration{plugins: map[string][]byte{}}
	for _, p := range file.Plugins {
		switch {
		case !slices.Contains(configured, p.Name):
			return nil, fmt.Errorf("plugin %q takes no configuration here; those that do are %v", p.Name, configured)
		case p.Path != "" && p.Configuration != nil:
			return nil, fmt.Errorf("plugin %s: name a path or a configuration, not both", p.Name)
		case c.plugins[p.Name] != nil:
			return nil, fmt.Errorf("plugin %s is configured twice", p.Name)
		case p.Path != "":
			at := p.Path
			if !filepath.IsAbs(at) {
				at = filepath.Join(filepath.Dir(path), at)
			}
			b, err = os.ReadFile(at)
		case p.Configuration != nil:
			b, err = yaml.Marshal(p.Configuration)
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("plugin %s: %w", p.Name, err)
		}
		c.plugins[p.Name] = b
	}
	return c, nil
}

// wallClock tells the time by a function.
type wallClock func() time.Time

func (c wallClock) Now() time.Time                  { return c() }
func (c wallClock) Since(t time.Time) time.Duration { return c().Sub(t) }

// configuration of one plugin; nil if there is none.
func (o *Options) configuration(plugin string) []byte {
	if o.Configuration == nil {
		return nil
	}
	return o.Configuration.plugins[plugin]
}

// hardenedPlugins are those that a cluster shared with strangers needs besides those that are on by default.
var hardenedPlugins = []string{"AlwaysPullImages", "DenyServiceExternalIPs", "EventRateLimit", "OwnerReferencesPermissionEnforcement"}

// runs tells whether a plugin is on.
func (o *Options) runs(p plugin) bool {
	switch {
	case p.make == nil:
		return false
	case p.always || slices.Contains(o.Enable, p.name):
		return true
	case slices.Contains(o.Disable, p.name):
		return false
	}
	return p.on || o.Hardened && slices.Contains(hardenedPlugins, p.name)
}
