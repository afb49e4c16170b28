/* Files that one process has to itself (flock), and who that is, so that a refusal can say so. */
#ifndef QUIRE_LOCK_HOLDER_H
#define QUIRE_LOCK_HOLDER_H

/*
 * flock(fd, operation) without waiting for anybody who lives: 0, or errno (EWOULDBLOCK: somebody has it). A process that was killed may have its files for
 * a moment longer, while the kernel ends the I/O that it had under way: for that it is waited, some seconds at most.
 */
int quire_lock_take(int fd, int operation);
/* The process, as far as the kernel shows it here (not one in another container); 0: nobody, or nobody who is shown. */
long quire_lock_holder(int fd);

#endif
