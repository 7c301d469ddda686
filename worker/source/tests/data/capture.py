"""capture.py PORT OUT COMMAND... : runs COMMAND with a last argument --port=N, where N leads to the server at PORT of
127.0.0.1, and keeps in OUT what the server sent on that connection, byte for byte."""
import socket, subprocess, sys, threading

port, out, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
listener = socket.create_server(("127.0.0.1", 0))
client = subprocess.Popen(command + [f"--port={listener.getsockname()[1]}"])
near, _ = listener.accept()
far = socket.create_connection(("127.0.0.1", port))


def copy(source, target, keep):
    while data := source.recv(65536):
        keep.append(data)
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)


said = []
up = threading.Thread(target=copy, args=(near, far, []))
up.start()
copy(far, near, said)
up.join()
with open(out, "wb") as file:
    file.write(b"".join(said))
sys.exit(client.wait())
