package encryption

import (
	"bytes"
	"fmt"
	"strings"

	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"sigs.k8s.io/yaml"
)

// Form is how a value is stored: a provider, and the name of its key, or of its plugin.
type Form struct {
	Provider string `json:"provider"`
	Key      string `json:"key,omitempty"`
}

// Plain is the form of what is not encrypted.
var Plain = Form{Provider: "identity"}

func (f Form) String() string {
	if f.Key == "" {
		return f.Provider
	}
	return f.Provider + ":" + f.Key
}

// FormOf reads the form of a stored value from its prefix, "k8s:enc:PROVIDER:VERSION:KEY:".
func FormOf(stored []byte) Form {
	rest, ok := bytes.CutPrefix(stored, encrypted)
	if !ok {
		return Plain
	}
	parts := strings.SplitN(string(rest[:min(len(rest), formMax)]), ":", 4)
	if len(parts) < 4 {
		return Form{Provider: "unknown"}
	}
	return Form{Provider: parts[0], Key: parts[2]}
}

// formMax bounds the prefix of a stored value in bytes.
const formMax = 1024

// Section is one list of resources in a configuration, with the forms that it reads in order; the first is written.
type Section struct {
	Resources []string `json:"resources"`
	Forms     []Form   `json:"forms"`
}

// Describe says what a configuration contains, without its keys.
func Describe(data []byte) ([]Section, error) {
	config, err := parse(data)
	if err != nil {
		return nil, err
	}
	var sections []Section
	for _, r := range config.Resources {
		section := Section{Resources: r.Resources}
		for _, p := range r.Providers {
			section.Forms = append(section.Forms, formsOf(p)...)
		}
		sections = append(sections, section)
	}
	return sections, nil
}

func formsOf(p apiserverv1.ProviderConfiguration) []Form {
	keys := func(provider string, keys []apiserverv1.Key) (forms []Form) {
		for _, k := range keys {
			forms = append(forms, Form{provider, k.Name})
		}
		return forms
	}
	switch {
	case p.AESGCM != nil:
		return keys("aesgcm", p.AESGCM.Keys)
	case p.AESCBC != nil:
		return keys("aescbc", p.AESCBC.Keys)
	case p.Secretbox != nil:
		return keys("secretbox", p.Secretbox.Keys)
	case p.KMS != nil:
		return []Form{{"kms", p.KMS.Name}}
	}
	return []Form{Plain}
}

func parse(data []byte) (*apiserverv1.EncryptionConfiguration, error) {
	config := &apiserverv1.EncryptionConfiguration{}
	if err := yaml.Unmarshal(data, config); err != nil {
		return nil, fmt.Errorf("not an EncryptionConfiguration: %w", err)
	}
	return config, nil
}

// Sections describe the configuration in force.
func (s *Store) Sections() []Section { return s.present.Load().sections }
