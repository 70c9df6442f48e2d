package master

import (
	"strings"
	"testing"
)

func TestCheckServing(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string // part of the error; empty for none
	}{
		{"nothing said", func(*Config) {}, ""},
		{"two suites", func(c *Config) {
			c.TLSCipherSuites = []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}
		}, ""},
		{"no such suite", func(c *Config) { c.TLSCipherSuites = []string{"TLS_NONE"} }, "--tls-cipher-suites: "},
		{"none that HTTP/2 takes", func(c *Config) { c.TLSCipherSuites = []string{"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"} }, "HTTP/2 needs"},
		{"suites that do not matter", func(c *Config) {
			c.TLSCipherSuites, c.TLSMinVersion = []string{"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"}, "VersionTLS13"
		}, ""},
		{"an old version", func(c *Config) { c.TLSMinVersion = "VersionTLS10" }, "--tls-min-version"},
		{"a certificate without its key", func(c *Config) { c.TLSCertFile = "cert" }, "together"},
		{"goaway", func(c *Config) { c.GoawayChance = 0.01 }, ""},
		{"too much goaway", func(c *Config) { c.GoawayChance = 0.03 }, "--goaway-chance"},
		{"less than none", func(c *Config) { c.GoawayChance = -1 }, "--goaway-chance"},
	} {
		config := Default()
		config.DataDir = ""
		c.change(&config)
		err := config.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
