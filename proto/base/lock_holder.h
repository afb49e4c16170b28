/* Who holds a file's lock (flock), so that a refusal can say so. */
#ifndef QUIRE_LOCK_HOLDER_H
#define QUIRE_LOCK_HOLDER_H

/* The process, as far as the kernel shows it here (not one in another container); 0: nobody, or nobody who is shown. */
long quire_lock_holder(int fd);

#endif
