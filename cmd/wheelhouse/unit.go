package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"unicode"

	"github.com/spf13/pflag"
)

// unit is what a service of systemd is made of.
type unit struct {
	// Program and its Args, without what only joining needs.
	Program string
	Args    []string
	// JoinFile holds the flags for joining, in JoinVariable, until the master has joined; nobody but root reads it. Empty for one
	// that does not join.
	JoinFile string
	// DataDir must be mounted before the master starts; Writable are it and the other folders that it writes.
	DataDir  string
	Writable []string
	// Home tells that some of these are below a home, which the service may then see.
	Home bool
	// LowPort tells that it serves on a port that only root may take.
	LowPort bool
}

// joinVariable names the variable of the environment that holds the flags for joining.
const joinVariable = "WHEELHOUSE_JOIN"

// unitText is systemd's, for version 247 and later. What a master does not need it does not get.
var unitText = template.Must(template.New("unit").Funcs(template.FuncMap{"quote": quoteForSystemd, "join": strings.Join}).Parse(`# Written by wheelhouse install, which writes it anew; changes belong into a drop-in: systemctl edit.
[Unit]
Description=Wheelhouse, a Kubernetes control plane
Wants=network-online.target
After=network-online.target
RequiresMountsFor={{quote .DataDir}}
StartLimitIntervalSec=0

[Service]
Type=notify
{{- if .JoinFile}}
EnvironmentFile=-{{.JoinFile}}
{{- end}}
ExecStart={{quote .Program}} server{{range .Args}} {{quote .}}{{end}}{{if .JoinFile}} $` + joinVariable + `{{end}}
{{- if .JoinFile}}
# Once it is ready it has joined, and the token is of no more use.
ExecStartPost=+/bin/rm -f {{.JoinFile}}
{{- end}}
# A master that waits for others is well, however long it takes.
TimeoutStartSec=infinity
TimeoutStopSec=30s
KillMode=mixed
WatchdogSec=60s
# What ends a master may pass: a port in use, a disk that was full, an etcd that was away. So it is started again however it
# ended, unless it was told to stop; a master that refuses to start changes nothing.
Restart=on-failure
RestartSec=5s
LimitNOFILE=1048576
OOMScoreAdjust=-900
UMask=0077

ProtectSystem=strict
ReadWritePaths={{range $i, $p := .Writable}}{{if $i}} {{end}}{{quote $p}}{{end}}
{{- if not .Home}}
ProtectHome=yes
{{- end}}
PrivateTmp=yes
PrivateDevices=yes
DevicePolicy=closed
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
NoNewPrivileges=yes
CapabilityBoundingSet={{if .LowPort}}CAP_NET_BIND_SERVICE{{end}}
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
`))

// text of the unit's file.
func (u *unit) text() (string, error) {
	var b strings.Builder
	if err := unitText.Execute(&b, u); err != nil {
		return "", err
	}
	return b.String(), nil
}

// quoteForSystemd makes one word of a command line or a list of paths, in which nothing is expanded.
func quoteForSystemd(s string) (string, error) {
	if strings.ContainsFunc(s, unicode.IsControl) {
		return "", fmt.Errorf("%q cannot stand in a unit of systemd", s)
	}
	s = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "%", "%%", "$", "$$").Replace(s)
	if s == "" || strings.ContainsAny(s, " \t\\\"';") {
		return `"` + s + `"`, nil
	}
	return s, nil
}

// joinFlags are what only joining needs.
var joinFlags = []string{"join", "token", "discovery-token-ca-cert-hash", "replace", "new-cluster"}

// pathFlags name files and folders; the service runs in another folder than the command that installs it.
var pathFlags = []string{
	"data-dir", "write-kubeconfig", "pki-dir", "tls-cert-file", "tls-private-key-file", "etcd-cafile", "etcd-certfile", "etcd-keyfile",
	"admission-control-config-file", "encryption-provider-config", "backup-dir", "backup-s3-ca-file", "backup-s3-credentials-file", "backup-passphrase-file", "backup-key-file",
}

// givenFlags are the flags of a master that stand on the command line, as words: those for joining, and the others.
func givenFlags(s *pflag.FlagSet) (args, join []string, err error) {
	s.VisitAll(func(f *pflag.Flag) {
		if !f.Changed || err != nil {
			return
		}
		value := f.Value.String()
		if list, ok := f.Value.(pflag.SliceValue); ok {
			value = strings.Join(list.GetSlice(), ",")
		}
		if slices.Contains(pathFlags, f.Name) && value != "" {
			value, err = filepath.Abs(value)
		}
		word := "--" + f.Name + "=" + value
		if slices.Contains(joinFlags, f.Name) {
			join = append(join, word)
		} else {
			args = append(args, word)
		}
	})
	return args, join, err
}

// environment is the text of the file that holds the flags for joining. Systemd splits the variable at spaces.
func environment(join []string) (string, error) {
	for _, word := range join {
		if strings.ContainsFunc(word, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || strings.ContainsRune(`"'\`, r) }) {
			return "", fmt.Errorf("%q cannot be handed to a service of systemd", word)
		}
	}
	return joinVariable + "=" + strings.Join(join, " ") + "\n", nil
}
