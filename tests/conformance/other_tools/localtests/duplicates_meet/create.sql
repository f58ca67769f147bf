-- Two rows have the value that a new key holds to be one; nobody picks one of them.
create table gh_ost_test (id int not null auto_increment primary key, mail varchar(40) not null);
insert into gh_ost_test (mail) values ('a@x'), ('b@x'), ('A@x');
