//! Ports to listen on.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use rustix::net::{AddressFamily, SocketType, sockopt};
use tokio::net::TcpListener;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// The port on all interfaces, IPv6 and IPv4. Must be called within the runtime.
///
/// # Errors
/// The port is taken or may not be used.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    match listen_on((Ipv6Addr::UNSPECIFIED, port).into()) {
        // A kernel without IPv6.
        Err(error) if !matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {
            listen_on((Ipv4Addr::UNSPECIFIED, port).into())
        }
        other => other,
    }
}

/// One address; an IPv6 one that means all interfaces means those of IPv4, too. Must be called within the runtime.
///
/// # Errors
/// The address is not this machine's, or its port is taken or may not be used.
pub fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let flags = rustix::net::SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    let listener = std::net::TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
