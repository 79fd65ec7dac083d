// The peer in Go: a reverse-forward server as people write it with gliderlabs/ssh. Lets every key in, holds forwards, and
// does nothing else.
package main

import (
	"flag"
	"log"
	"os"

	"github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"
)

type forwardsOf struct{}

func main() {
	listen := flag.String("listen", "127.0.0.1:2222", "")
	hostKey := flag.String("host-key", "", "")
	flag.Parse()
	pem, err := os.ReadFile(*hostKey)
	if err != nil {
		log.Fatal(err)
	}
	signer, err := gossh.ParsePrivateKey(pem)
	if err != nil {
		log.Fatal(err)
	}
	// One for each connection: it keeps listeners by the address that was asked for, so that of all that asked for port 0
	// it would close one and leave the others standing, where each search for a free port walks past them.
	forward := func(ctx ssh.Context, srv *ssh.Server, req *gossh.Request) (bool, []byte) {
		forwards, ok := ctx.Value(forwardsOf{}).(*ssh.ForwardedTCPHandler)
		if !ok {
			forwards = &ssh.ForwardedTCPHandler{}
			ctx.SetValue(forwardsOf{}, forwards)
		}
		return forwards.HandleSSHRequest(ctx, srv, req)
	}
	server := &ssh.Server{
		Addr:                          *listen,
		HostSigners:                   []ssh.Signer{signer},
		Handler:                       func(session ssh.Session) { select {} },
		PublicKeyHandler:              func(ssh.Context, ssh.PublicKey) bool { return true },
		ReversePortForwardingCallback: func(ssh.Context, string, uint32) bool { return true },
		RequestHandlers: map[string]ssh.RequestHandler{
			"tcpip-forward":        forward,
			"cancel-tcpip-forward": forward,
		},
		ServerConfigCallback: func(ssh.Context) *gossh.ServerConfig {
			config := &gossh.ServerConfig{}
			config.Ciphers = []string{"aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr"}
			return config
		},
	}
	log.Fatal(server.ListenAndServe())
}
